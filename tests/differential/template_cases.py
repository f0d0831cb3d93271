"""Hand-written templates for template_differential.py: what C++ engines are known to get wrong, and every construct at least
once. A case is (template, variables); variables None means VARIABLES."""

VARIABLES = {
    "s": "Hello, World",
    "n": 7,
    "f": 2.5,
    "t": True,
    "z": None,
    "words": ["b", "A", "c", "a"],
    "numbers": [3, 1, 2, 1],
    "user": {"name": "Ann", "age": 30, "Tags": ["x", "y"]},
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi <b>\n"},
        {"role": "assistant", "content": "Ünïcode ß 你好 😀"},
    ],
    "empty": [],
    "uni": "ÀÉß 你好 😀",
    "bos_token": "<s>",
    "big": 18446744073709551615,
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}, {"v": 5, "c": []}],
}

EXPRESSIONS = """
[1,2.0,true,none]
none|default('x')
missing|default('x')
''|default('x')
''|default('x', true)
missing
missing.x
missing['x']
user.nope
user.nope.deeper
user['nope'] is defined
messages[9]
messages[9].role
1/2
3//2
-3//2
-3 % 2
3 % -2
-7.5 // 2
-7.5 % 2
7 % 2.5
2**10
2**-1
2**0.5
-2**2
2**3**2
1 == true
1 == 1.0
'1' == 1
1 in [true]
0.1+0.2
1e16
1e15
123456789012345678.0
1e-5
0.0001
-0.0
1.0
1e22
5e-324
1.7976931348623157e308
1e400
'a' 'b'
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1]
'a' + 1
1 + 'a'
'a' * 3
3 * [1, 2]
[1] + [2]
[1] + (2,)
(1,) + (2, 3)
()
(1,)
(1, 2)
1, 2
{}
{'a': 1, 2: 'b', none: [1.5]}
{'a': 1}.a
{'items': 5}.items is callable
{'items': 5}['items']
'it\\'s'
['it\\'s', "q\\"q", "b'\\"", 'tab\\t', 'nl\\n', 'é', '\\x00', '\\u200b', '\\\\']
'\\x41\\u00e9\\101\\q\\é'
"a\\
b"
'abc'[1]
'abc'[-1]
'abc'[5]
'abc'[::-1]
'你好😀'[1]
'你好😀'[1:]
'你好😀'|length
'你好😀'[::-1]
[1,2,3,4][1:3]
[1,2,3,4][::2]
[1,2,3,4][::-2]
[1,2,3,4][-2:]
[1,2,3,4][:-1]
[1,2,3,4][10:]
[1,2,3,4][::0]
(1,2,3)[1:]
range(10)[2:8:3]
range(5)[1]
range(5)[9]
range(5)
range(5, 0, -2)|list
range(0)|list
range(100001)|list
range(3) == range(0, 3)
user[1:]
z[1:]
missing[1:]
5[0]
5 .real
(5).bit_length()
1 if false
(1 if false) is defined
1 if false else 2
1 if true else 2 if false else 3
not true
not not 0
not 1 == 2
1 < 2 < 3
1 < 3 < 2
3 > 2 > 1 > 0
1 < 2 == true
'a' < 'b'
'a' < 1
[1,2] < [1,3]
[1,2] < [1,2,0]
none < 1
1 in [1,2]
3 not in [1,2]
'ell' in s
1 in 'abc'
'name' in user
'x' in missing
missing in [1]
1 in 5
missing == missing2
missing == none
missing < 1
missing + 1
missing ~ 'x'
'%s' % missing
-missing
missing|length
missing|list
missing|upper
missing|join
missing|tojson
missing|int
missing|first
missing is iterable
missing is sequence
missing is string
missing()
none()
s()
z or 'other'
z and 'other'
'' or 0 or []
1 and 2 and 3
z is none
z is not none
t is true
1 is true
0 is false
t is boolean
n is number
t is number
n is integer
t is integer
f is float
n is float
s is string
s is iterable
s is sequence
words is sequence
user is sequence
n is iterable
user is mapping
words is mapping
range is callable
s is callable
missing is defined
missing is undefined
missing.x is defined
4 is even
4 is odd
'a' is odd
9 is divisibleby 3
9 is divisibleby(4)
'abc' is lower
'ABC' is upper
'Abc' is lower
'1' is lower
none is sameas none
1 is sameas(true)
1 is eq 1
1 is equalto 2
1 is ne 2
1 is lt 2
2 is ge 2
3 is greaterthan 2
1 is in [1, 2]
'b' is in 'abc'
'upper' is filter
'nope' is filter
'even' is test
s|e is escaped
1 is number and 2 is number
1 is defined is defined
not missing is defined
1 is not defined
words|sort
words|sort(reverse=true)
words|sort(case_sensitive=true)
messages|sort(attribute='role')|map(attribute='role')|list
messages|sort(attribute='role,content')|map(attribute='role')|list
[1,'a']|sort
words|unique|list
['a','A','b']|unique|list
['a','A','b']|unique(case_sensitive=true)|list
numbers|unique|list
words|min
words|max
numbers|min
[]|min
[]|max is defined
messages|max(attribute='role')
numbers|sum
[1.5, 2]|sum
messages|map(attribute='role')|join(', ')
messages|map(attribute='nope', default='d')|join(', ')
messages|map(attribute='nope')|list
messages|sum(attribute='content')
words|map('upper')|list
words|map('default', 'x')|list
[' a ', 'b ']|map('trim')|list
['axa']|map('replace', 'a', 'b')|list
[1,2,3,4]|select('odd')|list
[1,2,3,4]|reject('odd')|list
[1,2,3,4]|select('gt', 2)|list
[1,2,3,4]|select('divisibleby', 2)|list
[0,1,'',none,'a']|select|list
[0,1,'',none,'a']|reject|list
messages|selectattr('role', 'equalto', 'user')|list
messages|selectattr('role', '==', 'user')|map(attribute='content')|first
messages|rejectattr('role', 'in', ['user', 'system'])|list|length
messages|selectattr('role')|list|length
messages|selectattr('nope', 'defined')|list
messages|map('nofilter')|list
[]|map('nofilter')|list
[1]|select('notest')|list
messages|select('x')|first
messages|groupby('role')
(messages|groupby('role'))[0].grouper
(messages|groupby('role'))[0].list
['b','B','a']|groupby('0')
words|batch(3)|list
words|batch(3, 'x')|list
words|slice(3)|list
words|slice(3, 'x')|list
words|first
words|last
[]|first
[]|last is undefined
''|first
'abc'|first
'abc'|last
user|first
user|last
user|list
user|length
user|dictsort
{'b': 1, 'A': 2, 'a': 3}|dictsort
{'b': 1, 'A': 2}|dictsort(true)
{'b': 1, 'A': 2}|dictsort(by='value')
{'b': 1, 'A': 2}|dictsort(false, 'value', true)
{'b': 1, 'A': 'x'}|dictsort(by='value')
user|items|list
missing|items|list
words|items|list
user.items()
user.keys()
user.values()
user.items()|list
user.items()[0]
user.items()|length
user.get('name')
user.get('nope')
user.get('nope', 1)
user.nope()
user.update({})
user.pop('name')
user.update is defined
words.append(1)
words.append is defined
words.index('c')
words.index('zz')
words.count('a')
words.copy()
(1, 2, 1).count(1)
s.__class__
s.__class__ is defined
user.__class__
s._private
words|reverse|list
'abc'|reverse
(1,2)|reverse|list
range(3)|reverse|list
user|reverse|list
5|reverse
words|join
words|join('-')
[1, none, 'a']|join(', ')
'abc'|join('-')
5|join
5|length
words|map('upper')|length
words|tojson
user|tojson
user|tojson(indent=2)
user|tojson(indent='--')
user|tojson(sort_keys=true)
{'b': [], 'a': {}, 'c': [[]]}|tojson(indent=1)
[1, 2.0, true, none, 'é', 1e20, 0.1]|tojson
uni|tojson
uni|tojson(ensure_ascii=true)
'<&>"\\'\\n\\t\\x7f\\x01'|tojson
[1, 2]|tojson(separators=(',', ':'))
user|tojson(separators=(',', ':'), indent=1)
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
(1, 2)|tojson
range|tojson
{(1,2): 3}|tojson
s|upper
'ß'|upper
'straße ǆ ﬁ'|upper
'straße ǆ ﬁ'|title
'ΑΣ ΣΑΣ Σ'|lower
'İ'|lower
'hello world-foo (bar) it\\'s'|title
'hELLO wORLD'|capitalize
'they\\'re bill\\'s'.title()
'ABC Def'.swapcase()
'Abc'.casefold()
'  x '|trim
'xxabcxx'|trim('x')
'  x '.strip()
'xxabcxx'.strip('x')
'abcba'.lstrip('ab')
'abcba'.rstrip('ab')
'\\u00a0\\u2003x\\u3000'.strip()
'a b  c'.split()
'a b  c'.split(' ')
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
'  a b  c '.split(none, 1)
'  a b  c '.rsplit(none, 1)
' a b '.split(maxsplit=0)
'abc'.split('')
''.split()
''.split(',')
'a\\nb\\r\\nc\\x0bd'.splitlines()
'a\\nb\\n'.splitlines(true)
'abc'.startswith('a')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.endswith('bc')
'abc'.endswith(1)
'abcabc'.find('c')
'abcabc'.find('c', 3)
'abcabc'.rfind('c')
'abcabc'.find('zz')
'abcabc'.index('zz')
'你好你'.find('好')
'abcabc'.count('bc')
'aaa'.count('')
'abab'.replace('a', 'x')
'abab'.replace('a', 'x', 1)
'ab'.replace('', '-')
'abab'|replace('a', 'x')
'abab'|replace('a', 'x', 1)
123|replace(1, 9)
'-'.join(words)
'-'.join([1])
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('x')
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'5'.zfill(3)
'-5'.zfill(4)
'ab'.center(5, '*')
'ab'.center(7)
'abc'.center(6, '*')
'ab'.ljust(5, '.')
'ab'.rjust(5, '.')
'a\\tb'.expandtabs(4)
'123'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
'abc'.isalpha()
'ab1'.isalnum()
''.isalpha()
' \\n'.isspace()
'Ab Cd'.istitle()
'AB'.isupper()
'a1'.islower()
'a_1'.isidentifier()
'é'.isascii()
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format(1, 'a')
'{a}-{b[0]}-{c.name}'.format(a=1, b=[2], c=user)
'{:>5}|{:<5}|{:^5}|{:*^7}'.format(1, 'a', 2, 'm')
'{:05d} {:+d} {:x} {:#x} {:b} {:,}'.format(42, 5, 255, 255, 5, 1234567)
'{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25)
'{:.3}'.format('abcdef')
'{!r}'.format('a')
'{{}}'.format()
'{} {}'.format(1)
'{:d}'.format('a')
'{:.1}'.format(1234.5)
'{:.10}'.format(3.0)
'%s and %r' % ('a', 'b')
'%d %5d|%-5d|%05d' % (1, 2, 3, 4)
'%.2f %e %g' % (1.005, 12345.0, 0.00001)
'%x %X %o %c %c' % (255, 255, 8, 65, 'z')
'%(a)s %(b)d' % {'a': 1, 'b': 2}
'%s' % [1]
'%s %s' % 'a'
'%d' % 'a'
'abc' % 1
'100%%' % ()
'%5.1f|%+d|% d' % (3.14159, 5, 5)
'%s' % none
'%s, %s'|format('a', 1)
'%(x)s'|format(x=1)
'42'|int
'42.9'|int
'-42.9'|int
'abc'|int
'abc'|int(5)
'0x1A'|int(base=16)
'0x1A'|int(0, 16)
'101'|int(base=2)
' 12 '|int
'1_000'|int
'１２'|int
none|int
true|int
3.99|int
-3.99|int
[]|int
'1e3'|int
'3.5'|float
'abc'|float
'abc'|float(1.5)
'inf'|float
'nan'|float
'1e5'|float
none|float
3|float
2.5|round
3.5|round
2.675|round(2)
1234.567|round(-2)
1234|round(-2)
1250|round(-2)
1350|round(-2)
42|round
2.1|round(0, 'ceil')
2.9|round(0, 'floor')
42.55|round(1, 'floor')
2.5|round(1, 'nope')
-5|abs
-5.5|abs
true|abs
'a'|abs
-1|abs
'abc'|center(9)
'a b c d e'|truncate(5)
'hello big world out there'|truncate(12)
'hello big world out there'|truncate(12, true)
'hello big world out there'|truncate(12, true, '!')
'hello big world out there'|truncate(12, false, '...', 0)
'abcdef'|truncate(5)
'a\\nb\\n\\nc'|indent
'a\\nb\\n\\nc'|indent(2)
'a\\nb\\n\\nc'|indent(2, true)
'a\\nb\\n\\nc'|indent(2, false, true)
'a\\nb'|indent('> ')
'a\\nb\\n'|indent(2)
''|indent
5|indent
'one two, three'|wordcount
'a b/c?é&='|urlencode
{'a b': 'c&d', 'e': 1}|urlencode
[('a', 1), ('b', '/')]|urlencode
5|urlencode
'<a href="x">'|e
'<a>'|escape|escape
'<a>'|e|forceescape
'<a>'|safe
('<a>'|safe) + '<b>'
'<b>' + ('<a>'|safe)
('<a>'|safe) ~ '<b>'
['<a>'|safe]
'<p>a</p>  <b>c</b> &lt;'|striptags
s|string
5|string|length
true|string
[1]|string
s|list
('x'|attr('upper'))()
user|attr('name')
user|attr('items') is callable
dict(a=1, b=2)
dict([('a', 1)], c=3)
dict(user, name='Bob')
dict(1)
namespace(a=1).a
namespace(a=1)
namespace(user).name
range.x
raise_exception('no')
strftime_now('%Y')|length
joiner('|') is callable
-n|abs
-'3'|int
(-3)|abs
2 * -3
+5
+'a'
- - 5
1 - - 1
1 -1
n-1
10 - 2 - 3
2 * 3 % 4
1 + 2 ~ 3 + 4
1 + 2 ~ 3
'a' ~ 1 + 2
(1, 2)[0]
[[1, 2], [3]][0][1]
words[0].upper()
words[-1]
words['0']
words.0
words.9
user['name']['0']
s['upper']()
{'a': {'b': {'c': 1}}}.a.b.c
user['na' ~ 'me']
user.name.upper()|lower|title
1_000 + 0x_ff
0xff + 0o17 + 0b11
1.5e3
1e-3
true
True
TRUE is defined
None
not missing
missing is defined and missing.x
(missing or {}).x is defined
[1,2,3]|length > 2
'a' in 'abc' and 'd' not in 'abc'
not 'a' in 'b'
1 not in [2] == true
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
'a' != 'b'
1 != 1.0
none == false
'\\u4f60' == '你'
9223372036854775807
9007199254740993 == 9007199254740992.0
9223372036854775807 // 2
9223372036854775807 + 1
-9223372036854775807 - 2
-(-9223372036854775807 - 1)
9223372036854775808
-9223372036854775808
(-9223372036854775808)|abs
-9223372036854775808 // -1
-9223372036854775808 % -1
4294967296 * 4294967296
4294967296 * -4294967296
18446744073709551616 - 18446744073709551615
2 ** 100
-2 ** 63
(-2) ** 63
(-2) ** 101
(-1) ** 123456789012345678901
0 ** 123456789012345678901
2 ** -100
(2 ** 100) ** -1
(10 ** 400) ** -1
123456789012345678901234567890 // 987654321
-123456789012345678901234567890 // 987654321
123456789012345678901234567890 // -987654321
123456789012345678901234567890 % 987654321
-123456789012345678901234567890 % 987654321
123456789012345678901234567890 % -987654321
987654321 // -123456789012345678901234567890
987654321 % -123456789012345678901234567890
10 ** 30 // 0
10 ** 30 % 0
10 ** 30 / 0
10 ** 30 / 7
7 / 10 ** 30
10 ** 400 / 10 ** 399
10 ** 400 / 3
-(10 ** 30) / 3
3 / 10 ** 330
3 / 10 ** 323
7 / 10 ** 324
123456789 / 10 ** 316
9007199254740993 / 1
9007199254740995 / 2
9223372036854775807 / 3
9223372036854775295 / 4611686018427387649
10 ** 400 + 1.0
10 ** 400 * 1.5
10 ** 30 + 0.5
10 ** 30 // 2.5
10 ** 30 % 7.0
2.0 ** 100
10 ** 22 == 1e22
10 ** 23 == 1e23
2 ** 64 == 18446744073709551616.0
2 ** 64 + 1 == 18446744073709551616.0
2 ** 64 < 18446744073709551616.5
2 ** 64 > 1e400
2 ** 64 > -1e400
10 ** 400 > 1e308
-(10 ** 400) < 1e308
1e308 < 10 ** 400
1.5 <= 2 ** 70
[2 ** 70, 1, -(2 ** 70), 0.5]|sort
[2 ** 64, 2.0 ** 64, 18446744073709551616]|unique|list
{2 ** 64: 'a'}[2.0 ** 64]
{1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 2.0 ** 64: 'a', 9.21e18: 'b'}[2 ** 64]
{1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 9.21e18: 'b'}[9210000000000000000]
2 ** 64 in [1, 2.0 ** 64]
true + 2 ** 64
2 ** 64 and 'yes'
not 2 ** 64
2 ** 64 is integer
2 ** 64 is number
2 ** 64 is float
2 ** 64 is even
2 ** 64 + 1 is odd
2 ** 64 is divisibleby 3
2 ** 64 is iterable
2 ** 64 is sameas 5
[2 ** 64, (2 ** 64, {'a': -(2 ** 64)})]
[2 ** 64, {'a': -(2 ** 64)}]|tojson
{2 ** 64: 1}|tojson
(2 ** 64)|string + '!'
'x' ~ 2 ** 64
'%d|%5d|%+d|%.25d|%x|%#X|%o' % (2 ** 64, -(2 ** 64), 2 ** 64, 2 ** 64, 2 ** 64, 2 ** 70 + 11, -(2 ** 64))
'%d' % 1e30
'%s %r' % (2 ** 64, 2 ** 64)
'%.3f' % 2 ** 64
'%.3f' % (2 ** 64)
'%c' % (2 ** 64)
'%c' % (2 ** 64,)
'%*d' % (2 ** 64, 1)
'{:,} {:_} {:x} {:#X} {:b} {:#o} {:+} {:>30} {:030d} {:_x}'.format(2 ** 64, -(2 ** 64), 2 ** 64, 2 ** 70 + 11, 2 ** 65, 2 ** 66, 2 ** 64, 2 ** 64, -(2 ** 64), 2 ** 70)
'{:e} {:.2f} {:%}'.format(2 ** 64, 2 ** 64, 2 ** 64)
'{:c}'.format(2 ** 64)
'{:.3}'.format(2 ** 64)
'123456789012345678901234567890'|int
'-123456789012345678901234567890'|int
' +1_000_000_000_000_000_000_000 '|int
'0x123456789abcdef0123456789'|int(base=16)
'zzzzzzzzzzzzzzzzzzzz'|int(base=36)
('1' * 4300)|int
('1' * 4301)|int
('1' * 4301)|int(7)
'1e30'|int
'1e400'|int
1e30|int
-1e30|int
1e400|int
(2 ** 64)|int
(2 ** 64)|float
(10 ** 400)|float
(-(2 ** 64))|abs
(2 ** 64)|round
(2 ** 64)|round(-3)
(2 ** 64)|round(-19)
(2 ** 64)|round(-20)
(2 ** 64)|round(-21)
(-(2 ** 64))|round(-5)
(25 * 10 ** 20)|round(-21)
(35 * 10 ** 20)|round(-21)
(2 ** 64)|round(-5000)
(2 ** 64)|round(2, 'floor')
(2 ** 64 + 1)|round(0, 'ceil')
1e30|round(0, 'ceil')
9007199254740993|round(0, 'floor')
9223372036854775807|round(-1)
[2 ** 63, 2 ** 63, -1]|sum
[9223372036854775807, 1]|sum
[2 ** 64, 3]|max
[2 ** 64, 3]|min
(2 ** 64).bit_length()
(-(2 ** 64)).bit_length()
(2 ** 64).real + (2 ** 64).numerator
(2 ** 64).denominator
'abc'[2 ** 64]
'abc'[-(2 ** 64)]
[1, 2][2 ** 64]
range(3)[2 ** 64]
'abc'[:2 ** 64]
'abc'[-(2 ** 64):]
'abc'[::2 ** 64]
'abc'[::-(2 ** 64)]
'a' * 2 ** 64
'' * (2 ** 64)
[1] * -(2 ** 64)
range(2 ** 64)
'a'.center(2 ** 64)
'a'|center(2 ** 64)
0x1_0000_0000_0000_0000
0b11111111111111111111111111111111111111111111111111111111111111111111
0o7777777777777777777777777
10 ** 4299 // 10 ** 4290
(10 ** 4299)|string|length
(10 ** 4300)|string
big
big + 1
-big
[big, big // 3]|tojson
7 // 0
7 % 0
7 / 0
7.0 // 0
0 ** -1
1 / 3
10 / 2
100 // 7.0
1e300 * 1e10
"%s" | format("<x>")
(1,2,3)|list
{'a':1}|list
(words|list)[0]
words | first | upper
messages[0]['content'][:2]
messages[::-1][0].role
messages[-1:][0].role
messages|length - 1
messages[messages|length - 1].role
s|replace('o', '0')|upper
s|upper|lower ~ '!'
[words, numbers]|map('length')|list
[words, numbers]|map('first')|list
words|map('upper')|join('')|lower
numbers|map('string')|join
[[1, 2], [3]]|sum(start=[])
[none, true, 1.0]|map('string')|list
""".strip("\n")

TEMPLATES = [
    "a\n", "a\n\n", "a\r\nb\r\n", "\n", "", "{{ s }}\n", "{{ s }}\n\n", "a{# c #}\nb", "a {#- c -#} b", "{# c\n#}\nb",
    "{% if true %}\nx\n{% endif %}\ny", "  {% if true %}\n  x\n  {% endif %}\n  y", "a  {% if true %}  x  {% endif %}  y",
    "{%+ if true %}\nx{% endif +%}\ny", "  {%+ if true %}x{% endif %}", "a\n  {%- if true -%}\n  x\n {%- endif %}\n b",
    "a {{- ' b ' -}} c", "a\n\n  {{- 1 }}\n", "{{ 1 }}\n{{ 2 }}\n", "  {{ 1 }}", "x\n  {{ 1 }}", "{% if true -%}\n\n x{% endif %}",
    "x \u00a0{%- if true %}y{% endif %}", "{% raw %}{{ x }}{% y %}{% endraw %}", "{% raw -%}\n {{ x }} {%- endraw %}\nz",
    "a\n  {% raw %}\n r\n  {% endraw %}\nb", "{%- raw %} {{ }} {% endraw -%} \n z", "{{ '{{' }}{{ '}}' }}", "{{ '%}' }}",
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set (x, y) = [1, 2] %}{{ x }}{{ y }}",
    "{% set x, y = [1] %}", "{% set x = 1, 2 %}{{ x }}", "{% set x %}a{{ s }}b{% endset %}[{{ x }}]",
    "{% set x | upper | replace('A', 'b') %}a{% endset %}{{ x }}", "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% for i in [1, 2] %}{{ x }}{% set x = i %}{% endfor %}[{{ x }}]",
    "{% set x = 0 %}{% for i in [1, 2] %}{{ x }}{% set x = i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=0) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{{ ns.x is defined }}{% set ns.x = 1 %}{{ ns.x }}{{ ns['x'] }}{{ ns.y }}",
    "{% set user.x = 1 %}", "{% set user['x'] = 1 %}", "{% set nope.x = 1 %}", "{% set x.y.z = 1 %}", "{% set true = 1 %}",
    "{% if false %}a{% elif z %}b{% elif 1 %}c{% else %}d{% endif %}", "{% if missing %}a{% else %}b{% endif %}",
    "{% if missing.x %}a{% endif %}", "{% if true %}{% set q = 1 %}{% endif %}{{ q }}", "{% if 1, %}a{% endif %}",
    "{% for x in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ x }};{% endfor %}",
    "{% for x in words %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in words %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in words %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x|lower) }} {% endfor %}",
    "{% for x in [1,1,2,2,1] %}{{ loop.changed(x) }} {% endfor %}", "{% for x in words %}{{ loop.cycle() }}{% endfor %}",
    "{% for x in [] %}a{% else %}b{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}", "{% for x in none %}a{% endfor %}",
    "{% for x in 5 %}a{% endfor %}", "{% for c in 'h你!' %}{{ c }}.{% endfor %}", "{% for k in user %}{{ k }} {% endfor %}",
    "{% for k, v in user.items() %}{{ k }}={{ v }} {% endfor %}", "{% for k, v in user|dictsort %}{{ k }}={{ v }} {% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}", "{% for x in numbers if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for x in numbers if x > 9 %}a{% else %}none{% endfor %}", "{% for x in numbers if loop.first %}{{ x }}{% endfor %}",
    "{% for x in words %}{% for y in numbers %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in words %}{% if x == 'A' %}{% continue %}{% endif %}{% if x == 'a' %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in words %}{% for y in words %}{% break %}{% endfor %}{{ x }}{% endfor %}", "{% break %}", "{% continue %}",
    "{% for x in [] %}{% else %}{% break %}{% endfor %}", "{% for x in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}", "{% for i in range(3) %}{% endfor %}{{ loop }}",
    "{% for x in tree recursive %}{{ x.v }}[{{ loop.depth }}{{ loop(x.c) }}]{% endfor %}",
    "{% for x in tree recursive %}{{ loop.depth0 }}{{ x.v }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}",
    "{% for x in tree %}{{ loop(x.c) }}{% endfor %}", "{% for x in words|map('upper') %}{{ x }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for loop in words %}{% endfor %}", "{% for x in words %}{{ loop|length }}{{ loop }}{% endfor %}",
    "{% for x in words %}{% set loop_x = loop.index %}{% endfor %}{{ loop_x is defined }}",
    "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in [1, 2] if x else [3] %}{{ x }}{% endfor %}", "{% for x in (words if t else []) %}{{ x }}{% endfor %}",
    "{% macro m(a, b='B', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 2) }} {{ m(1, c=3) }} {{ m(b=5) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}", "{% macro m() %}{{ kwargs.x }}{% endmacro %}{{ m(x=4) }}{{ m(4) }}",
    "{% macro m() %}{{ s }}{{ late }}{% endmacro %}{% set late = 1 %}{{ m() }}", "{% macro m() %}{% set s = 1 %}{{ s }}{% endmacro %}{{ m() }}{{ s }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in {{ s }}{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% call 5 %}{% endcall %}",
    "{% macro m(x) %}{{ caller(x) }}{% endmacro %}{% for i in [1, 2] %}{% call(v) m(i) %}{{ v }}{{ i }}{% endcall %}{% endfor %}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m(a) %}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}", "{% macro m() %}  a  {% endmacro %}[{{ m()|trim }}]", "{{ m() }}{% macro m() %}{% endmacro %}",
    "{% if true %}{% macro m() %}x{% endmacro %}{% endif %}{{ m() }}", "{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}",
    "{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}", "{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}",
    "{% macro m(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ m(*[1, 2]) }} {{ m(**{'a': 3, 'b': 4}) }} {{ m(*[5], **{'b': 6}) }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}banana{% endfilter %}", "{% filter trim %} {% set q = 1 %}x {% endfilter %}{{ q is defined }}",
    "{% filter length %}abc{% endfilter %}", "{% filter nope %}{% endfilter %}", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}", "{% with a = 1 %}{% set a = 2 %}{{ a }}{% endwith %}",
    "{% generation %}a{{ s }}{% set q = 1 %}{% endgeneration %}{{ q is defined }}", "{% for m in messages %}{%- if m.role == 'assistant' %}\n{% generation %}\n{{ m.content }}{% endgeneration %}\n{% endif %}{% endfor %}",
    "{% print 1, 2 %}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% do 1 %}", "{% nope %}", "{% endif %}", "{% if true %}", "{% if true %}{% endfor %}",
    "{% for x in [1] %}{% endif %}", "{{ ", "{% ", "{# ", "{{ 1 ", "{{ 1 %}", "{% if 1 }}", "{{ }}", "{{ 1 2 }}", "{{ 1 + }}", "{{ (1 }}", "{{ [1 }}", "{{ {1} }}", "{{ {'a' 1} }}", "{{ 'a }}", "{{ a..b }}", "{{ a. }}", "{{ a[] }}", "{{ a[1 }}", "{{ f(a=1, 2) }}",
    "{{ f(a b) }}", "{{ 1 if }}", "{{ | upper }}", "{{ s | }}", "{{ s|nope }}", "{{ s is nope }}", "{% if false %}{{ s|nope }}{% endif %}ok", "{% if true %}{{ s|nope }}{% endif %}", "{{ 1 if true else s|nope }}", "{{ s is }}", "{{ not }}", "{{ ? }}", "{{ a ! b }}", "{{ $ }}", "{% raw %}x", "{% set %}",
    "{% set 1 = 2 %}", "{% for in x %}", "{% for x y %}{% endfor %}", "{% for x in %}{% endfor %}", "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{{ 1 }} }} %} #}", "{ { 1 } }", "{{{ 'a': 1 }}}", "{{ {'a': {'b': 1}} }}", "{{ {'a': 1}['a'] }}", "{{ [[1]] }}{{ (((1))) }}",
    "{{ raise_exception('Only user and assistant roles are supported!') }}", "{% if t %}{{ raise_exception('stop ' ~ n) }}{% endif %}", "{{ raise_exception(1) }}", "{{ raise_exception() }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.current }}", "{% set j = joiner(', ') %}{% for w in words %}{{ j() }}{{ w }}{% endfor %}",
    "{% set g = words|map('upper') %}{{ g|list }}{{ g|list }}", "{% set g = words|select %}{{ g|first }}{{ g|list }}", "{{ words|map('upper')|first }}", "{{ (words|reverse)|first }}",
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content']|trim + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "{%- for m in messages if m.role != 'system' -%}\n  {{- m.role }}: {{ m.content | trim }}\n{% endfor -%}\nend\n", "{%- set sys = messages[0].content if messages[0].role == 'system' else '' -%}\n{{ sys }}{%- if tools is defined and tools %} T{% endif %}",
    "{% set last = messages | selectattr('role', 'equalto', 'user') | list | last %}{{ last.content }}", "{%- set ns = namespace(i=-1) %}\n{%- for m in messages[::-1] %}\n{%- if ns.i < 0 and m.role == 'user' %}{% set ns.i = (messages|length - 1) - loop.index0 %}{% endif %}\n{%- endfor %}{{ ns.i }}",
    "{% set content = 'a</think>b</think>c' %}{{ content.split('</think>')[-1].lstrip('\\n') }}{{ content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] }}",
    "{% set x = 5 %}{% set f = x|float %}{{ f }}{{ x / 2 }}{{ (x / 2)|int }}{{ x // 2 }}", "{{ strftime_now('%d %b %Y') is string }}", "{{ messages|tojson(indent=4) }}", "{% set x = {'a': [1, {'b': none}]} %}{{ x }}{{ x|tojson }}",
    "{% set x = [] %}{% set _ = x.append(1) %}{{ x }}", "{% set d = {} %}{% set _ = d.update({'a': 1}) %}", "{% set a = 'x' if false %}{{ a }}{{ a is defined }}", "{% set b = z if z is not none else 'd' %}{{ b }}",
    "{{ '\\n'.join(['a', 'b']) }}", "{{ s ~ '\n' ~ s }}", "line\n\n\n{% if true %}\n\nx\n{% endif %}\n\n\n", "\ufeff{{ 1 }}", "你好{{ '世界' }}😀\n", "{%set x=1%}{{x}}{%if x==1%}y{%endif%}", "{{1if 1else 2}}", "{{ x\n+\n1 }}", "{{ n\n  + 1\n}}",
    "{% set ns = namespace(a=1) %}{% set ns.self = ns %}{{ ns.self.self.a }}", "{% set x %}{% for i in [1,2] %}{{ i }}\n{% endfor %}{% endset %}{{ x|trim }}|", "{% set naïve = 1 %}{{ naïve }}", "{% set ns.a = 1 %}",
    "{% set a = namespace(v=1) %}{% macro m() %}{% set a.v = 2 %}{% endmacro %}{{ m() }}{{ a.v }}", "{% for m in messages %}{{ m.role if loop.first else m['role']|upper }}{{ ', ' if not loop.last }}{% endfor %}", "{% for m in messages %}{{- '' }}\n{{ m.role }}\n{%- endfor %}",
]

CASES = [("{{ " + expression + " }}", None) for expression in EXPRESSIONS.replace('"a\\\nb"', "1").split("\n")]
CASES += [('{{ "a\\\nb" }}', None)]
CASES += [(template, None) for template in TEMPLATES]
