#include "text/oniguruma_pattern.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

constexpr int kDeepestClass = 32;

// Members of a class in brackets, as PCRE2 spells them: PCRE2's own \s has U+180E, its \w no marks and connectors.
constexpr std::string_view kSpaceMembers =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWordMembers =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
constexpr std::string_view kHexMembers = "0-9A-Fa-f";
constexpr std::string_view kWordsOutsideBrackets = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";  // a quirk of Oniguruma
constexpr std::string_view kAnyCharacter = "(?s:.)";

using Name = std::pair<std::string_view, std::string_view>;

// [[:name:]], and \p{name} where kProperties does not say otherwise.
constexpr auto kPosixClasses = std::to_array<Name>({{"alnum", R"(\p{Alphabetic}\p{Nd})"},
                                                    {"alpha", R"(\p{Alphabetic})"},
                                                    {"ascii", R"(\x{00}-\x{7f})"},
                                                    {"blank", R"(\p{Zs}\x{09})"},
                                                    {"cntrl", R"(\p{Cc})"},
                                                    {"digit", R"(\p{Nd})"},
                                                    {"lower", R"(\p{Lowercase})"},
                                                    {"punct", R"(\p{P}\p{S})"},
                                                    {"space", kSpaceMembers},
                                                    {"upper", R"(\p{Uppercase})"},
                                                    {"word", kWordMembers},
                                                    {"xdigit", kHexMembers}});

// \p{name} by its name in lower case without spaces, "-" and "_". What is not here can only be a script.
constexpr auto kProperties = std::to_array<Name>({{"any", R"(\x{00}-\x{10ffff})"},
                                                  {"assigned", R"(\P{Cn})"},
                                                  {"l", R"(\p{L})"},
                                                  {"letter", R"(\p{L})"},
                                                  {"lc", R"(\p{L&})"},
                                                  {"casedletter", R"(\p{L&})"},
                                                  {"lu", R"(\p{Lu})"},
                                                  {"uppercaseletter", R"(\p{Lu})"},
                                                  {"ll", R"(\p{Ll})"},
                                                  {"lowercaseletter", R"(\p{Ll})"},
                                                  {"lt", R"(\p{Lt})"},
                                                  {"titlecaseletter", R"(\p{Lt})"},
                                                  {"lm", R"(\p{Lm})"},
                                                  {"modifierletter", R"(\p{Lm})"},
                                                  {"lo", R"(\p{Lo})"},
                                                  {"otherletter", R"(\p{Lo})"},
                                                  {"m", R"(\p{M})"},
                                                  {"mark", R"(\p{M})"},
                                                  {"combiningmark", R"(\p{M})"},
                                                  {"mn", R"(\p{Mn})"},
                                                  {"nonspacingmark", R"(\p{Mn})"},
                                                  {"mc", R"(\p{Mc})"},
                                                  {"spacingmark", R"(\p{Mc})"},
                                                  {"me", R"(\p{Me})"},
                                                  {"enclosingmark", R"(\p{Me})"},
                                                  {"n", R"(\p{N})"},
                                                  {"number", R"(\p{N})"},
                                                  {"nd", R"(\p{Nd})"},
                                                  {"decimalnumber", R"(\p{Nd})"},
                                                  {"nl", R"(\p{Nl})"},
                                                  {"letternumber", R"(\p{Nl})"},
                                                  {"no", R"(\p{No})"},
                                                  {"othernumber", R"(\p{No})"},
                                                  {"p", R"(\p{P})"},
                                                  {"punctuation", R"(\p{P})"},
                                                  {"punct", R"(\p{P})"},
                                                  {"pc", R"(\p{Pc})"},
                                                  {"connectorpunctuation", R"(\p{Pc})"},
                                                  {"pd", R"(\p{Pd})"},
                                                  {"dashpunctuation", R"(\p{Pd})"},
                                                  {"ps", R"(\p{Ps})"},
                                                  {"openpunctuation", R"(\p{Ps})"},
                                                  {"pe", R"(\p{Pe})"},
                                                  {"closepunctuation", R"(\p{Pe})"},
                                                  {"pi", R"(\p{Pi})"},
                                                  {"initialpunctuation", R"(\p{Pi})"},
                                                  {"pf", R"(\p{Pf})"},
                                                  {"finalpunctuation", R"(\p{Pf})"},
                                                  {"po", R"(\p{Po})"},
                                                  {"otherpunctuation", R"(\p{Po})"},
                                                  {"s", R"(\p{S})"},
                                                  {"symbol", R"(\p{S})"},
                                                  {"sm", R"(\p{Sm})"},
                                                  {"mathsymbol", R"(\p{Sm})"},
                                                  {"sc", R"(\p{Sc})"},
                                                  {"currencysymbol", R"(\p{Sc})"},
                                                  {"sk", R"(\p{Sk})"},
                                                  {"modifiersymbol", R"(\p{Sk})"},
                                                  {"so", R"(\p{So})"},
                                                  {"othersymbol", R"(\p{So})"},
                                                  {"z", R"(\p{Z})"},
                                                  {"separator", R"(\p{Z})"},
                                                  {"zs", R"(\p{Zs})"},
                                                  {"spaceseparator", R"(\p{Zs})"},
                                                  {"zl", R"(\p{Zl})"},
                                                  {"lineseparator", R"(\p{Zl})"},
                                                  {"zp", R"(\p{Zp})"},
                                                  {"paragraphseparator", R"(\p{Zp})"},
                                                  {"c", R"(\p{C})"},
                                                  {"other", R"(\p{C})"},
                                                  {"cc", R"(\p{Cc})"},
                                                  {"control", R"(\p{Cc})"},
                                                  {"cf", R"(\p{Cf})"},
                                                  {"format", R"(\p{Cf})"},
                                                  {"cn", R"(\p{Cn})"},
                                                  {"unassigned", R"(\p{Cn})"},
                                                  {"co", R"(\p{Co})"},
                                                  {"privateuse", R"(\p{Co})"},
                                                  {"alphabetic", R"(\p{Alphabetic})"},
                                                  {"lowercase", R"(\p{Lowercase})"},
                                                  {"uppercase", R"(\p{Uppercase})"},
                                                  {"whitespace", kSpaceMembers},
                                                  {"emoji", R"(\p{Emoji})"},
                                                  {"emojipresentation", R"(\p{Emoji_Presentation})"},
                                                  {"extendedpictographic", R"(\p{Extended_Pictographic})"},
                                                  {"ideographic", R"(\p{Ideographic})"}});

template <size_t kSize>
std::optional<std::string_view> find(const std::array<Name, kSize>& names, std::string_view name) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const Name& n) { return n.first == name; });
  return found == names.end() ? std::nullopt : std::optional(found->second);
}

// Characters whose case folding is several characters, which Oniguruma also matches by those. A little too many.
bool folds_to_several(char32_t first, char32_t last) {
  constexpr auto kRanges = std::to_array<std::pair<char32_t, char32_t>>({{0xdf, 0xdf},
                                                                         {0x130, 0x130},
                                                                         {0x149, 0x149},
                                                                         {0x1f0, 0x1f0},
                                                                         {0x390, 0x390},
                                                                         {0x3b0, 0x3b0},
                                                                         {0x587, 0x587},
                                                                         {0x1e96, 0x1e9e},
                                                                         {0x1f50, 0x1ffc},
                                                                         {0xfb00, 0xfb17}});
  return std::any_of(kRanges.begin(), kRanges.end(),
                     [&](const auto& range) { return first <= range.second && last >= range.first; });
}

// Whether one character may fold to these two: "ss" of U+00DF, "fi" of U+FB01, a letter and an accent, ...
bool may_be_one_folded(char32_t a, char32_t b) {
  const auto plain = [](char32_t c) { return c == 0x17f ? U's' : c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; };
  a = plain(a);
  b = plain(b);
  if (a == 's' && (b == 's' || b == 't')) return true;
  if (a == 'f' && (b == 'f' || b == 'i' || b == 'l')) return true;
  const auto armenian = [](char32_t c) { return c >= 0x531 && c <= 0x586; };
  return (b >= 0x300 && b <= 0x36f) || a == 0x2bc || b == 0x2be || b == 0x399 || b == 0x3b9 ||
         (armenian(a) && armenian(b));
}

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }
bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string literal(char32_t c) {
  if (c <= ' ' || c == 0x7f || (c >= 0x80 && c <= 0xa0)) return fmt::format("\\x{{{:02x}}}", uint32_t(c));
  std::string text;
  append_utf8(text, c);
  if (c < 0x80 && !is_ascii_letter(char(c)) && !is_ascii_digit(char(c))) text.insert(0, "\\");
  return text;
}

// A set of characters as PCRE2 can spell it: what can stand between brackets, and patterns of one character each for
// what cannot.
struct CharacterSet {
  std::string members;
  std::vector<std::string> others;

  void add(std::string_view more, bool negated) {
    if (negated) {
      others.push_back(fmt::format("[^{}]", more));
    } else {
      members += more;
    }
  }
  void add(const CharacterSet& set) {
    members += set.members;
    others.insert(others.end(), set.others.begin(), set.others.end());
  }
  bool empty() const { return members.empty() && others.empty(); }
  std::string pattern() const {
    std::string text = members.empty() ? "" : "[" + members + "]";
    for (const std::string& other : others) text += (text.empty() ? "" : "|") + other;
    return others.size() + (members.empty() ? 0 : 1) == 1 ? text : "(?:" + text + ")";
  }
};

CharacterSet complement(const CharacterSet& set) {
  CharacterSet result;
  if (set.others.empty()) {
    result.add(set.members, true);
  } else {
    result.others = {fmt::format("(?:(?!{}){})", set.pattern(), kAnyCharacter)};
  }
  return result;
}

CharacterSet intersection(const CharacterSet& a, const CharacterSet& b) {
  CharacterSet result;
  result.others = {fmt::format("(?:(?={}){})", a.pattern(), b.pattern())};
  return result;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string translate() {
    while (!at_end()) step();
    if (groups_.size() > 1) refuse("a '(' without ')'");
    out_.append(size_t(group().closings), ')');
    return std::move(out_);
  }

 private:
  struct Group {
    size_t atom = 0;   // where its translation begins
    int closings = 0;  // of the groups that an option such as (?i) opens up to its end
    bool ignores_case = false, free_spacing = false;
  };

  [[noreturn]] void refuse(std::string_view what) const {
    fail("The tokenizer's regular expression '{}' is not supported because of {}", pattern_, what);
  }
  bool at_end() const { return at_ >= pattern_.size(); }
  std::string_view rest() const { return pattern_.substr(at_); }
  char peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool take(std::string_view wanted) {
    const bool found = rest().starts_with(wanted);
    if (found) at_ += wanted.size();
    return found;
  }
  // Up to `end`, which is taken too.
  std::string_view take_until(std::string_view end) {
    const size_t found = pattern_.find(end, at_);
    if (found == std::string_view::npos) refuse(fmt::format("'{}' without '{}'", rest(), end));
    const std::string_view text = pattern_.substr(at_, found - at_);
    at_ = found + end.size();
    return text;
  }
  Group& group() { return groups_.back(); }
  const Group& group() const { return groups_.back(); }

  void step();
  void skip_comments();
  void open_group();
  void set_options();
  void close_group();
  void add_atom(std::string_view text);
  void add_literal(char32_t c);
  void quantify(size_t atom);
  bool take_quantifier(std::string& text, bool& fixed);
  void escape();
  void back_reference();
  std::optional<char32_t> take_code();
  std::optional<char32_t> take_hex(size_t digits);
  bool take_class_escape(bool in_brackets, CharacterSet& set);
  CharacterSet property(bool in_brackets);
  CharacterSet bracket(int depth);
  CharacterSet bracket_items(int depth, bool first);
  bool take_posix_class(CharacterSet& set);
  char32_t take_member();
  void add_range(CharacterSet& set);
  void check_case(const CharacterSet& set) const;

  std::string_view pattern_;
  size_t at_ = 0;
  std::string out_;
  std::vector<Group> groups_ = std::vector<Group>(1);  // the pattern itself is the outermost
  std::optional<char32_t> previous_;                   // the literal just before, where case is ignored
};

void Translator::step() {
  skip_comments();
  if (at_end()) return;
  const std::optional<char32_t> previous = std::exchange(previous_, std::nullopt);
  const char c = peek();
  std::string quantifier;
  bool fixed = false;
  if (take_quantifier(quantifier, fixed)) refuse(fmt::format("'{}' with nothing to repeat", quantifier));
  if (c == '(') {
    open_group();
  } else if (take(")")) {
    close_group();
  } else if (take("|") || take("^") || take("$")) {
    out_ += c;
  } else if (c == '[') {
    ++at_;
    const CharacterSet set = bracket(0);
    check_case(set);
    add_atom(set.pattern());
  } else if (take(".")) {
    add_atom(".");
  } else if (c == '\\') {
    previous_ = previous;
    escape();
  } else {
    previous_ = previous;
    add_literal(next_code_point(pattern_, at_));
  }
}

void Translator::skip_comments() {
  for (;;) {
    const char c = peek();
    if (take("(?#")) {
      take_until(")");
    } else if (group().free_spacing && c == '#') {
      at_ = std::min(pattern_.find('\n', at_), pattern_.size());
    } else if (group().free_spacing && (c == ' ' || (c >= '\t' && c <= '\r'))) {
      ++at_;
    } else {
      return;
    }
  }
}

void Translator::open_group() {
  constexpr std::array<std::string_view, 6> kKnown = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
  Group inner = group();
  inner.atom = out_.size();
  inner.closings = 0;
  for (const std::string_view known : kKnown) {
    if (!take(known)) continue;
    out_ += known;
    groups_.push_back(inner);
    return;
  }
  if (rest().starts_with("(?<") || rest().starts_with("(?'")) {
    const size_t begin = at_;
    const std::string_view end = peek(2) == '<' ? ">" : "'";
    at_ += 3;
    take_until(end);
    out_ += pattern_.substr(begin, at_ - begin);
    groups_.push_back(inner);
  } else if (rest().starts_with("(?")) {
    set_options();
  } else if (rest().starts_with("(*")) {
    refuse("'(*'");
  } else {
    ++at_;
    out_ += '(';
    groups_.push_back(inner);
  }
}

// (?i-m:...), or (?i) up to the end of the group, over all its alternatives. Oniguruma's m is PCRE2's s.
void Translator::set_options() {
  const size_t begin = at_;
  at_ += 2;
  Group inner = group();
  inner.atom = out_.size();
  inner.closings = 0;
  std::string options = "(?";
  bool on = true;
  for (; !at_end() && peek() != ':' && peek() != ')'; ++at_) {
    const char c = peek();
    if (c == '-' && on) {
      on = false;
      options += '-';
    } else if (c == 'i') {
      inner.ignores_case = on;
      options += 'i';
    } else if (c == 'm') {
      options += 's';
    } else if (c == 'x') {
      inner.free_spacing = on;
    } else {
      refuse(fmt::format("the group '{}'", pattern_.substr(begin, at_ + 1 - begin)));
    }
  }
  if (options.ends_with('-')) options.pop_back();
  out_ += options + ':';
  if (take(":")) {
    groups_.push_back(inner);
  } else if (take(")")) {
    inner.atom = group().atom;
    inner.closings = group().closings + 1;
    group() = inner;
  } else {
    refuse(fmt::format("the group '{}'", pattern_.substr(begin)));
  }
}

void Translator::close_group() {
  if (groups_.size() == 1) refuse("a ')' without '('");
  const Group closed = group();
  groups_.pop_back();
  out_.append(size_t(closed.closings) + 1, ')');
  quantify(closed.atom);
}

void Translator::add_atom(std::string_view text) {
  const size_t atom = out_.size();
  out_ += text;
  quantify(atom);
}

void Translator::add_literal(char32_t c) {
  if (group().ignores_case) {
    if (folds_to_several(c, c) || (previous_ && may_be_one_folded(*previous_, c)))
      refuse("a letter that folds to several where case is ignored");
    previous_ = c;
  }
  add_atom(literal(c));
}

// "a{1,3}+" and "a{2}?" are two quantifiers there, "a{,3}" is one.
void Translator::quantify(size_t atom) {
  bool quantified = false;
  for (;;) {
    skip_comments();
    std::string quantifier;
    bool fixed = false;
    if (!take_quantifier(quantifier, fixed)) return;
    const bool interval = quantifier.front() == '{';
    if (!fixed && take("?")) {
      quantifier += '?';
    } else if (!interval && take("+")) {
      quantifier += '+';
    }
    if (quantified) {
      out_.insert(atom, "(?:");
      out_ += ')';
    }
    out_ += quantifier;
    quantified = true;
  }
}

// `fixed`: it is {n}.
bool Translator::take_quantifier(std::string& text, bool& fixed) {
  const char c = peek();
  if (c == '*' || c == '+' || c == '?') {
    ++at_;
    text = c;
    return true;
  }
  if (c != '{') return false;
  size_t ahead = 1;
  const auto number = [&] {
    std::string digits;
    while (is_ascii_digit(peek(ahead))) digits += peek(ahead++);
    return digits;
  };
  std::string least = number(), most = least;
  fixed = peek(ahead) != ',';
  if (!fixed) {
    ++ahead;
    most = number();
  }
  if ((least.empty() && most.empty()) || peek(ahead) != '}') return false;  // a "{" like any other character
  at_ += ahead + 1;
  if (least.empty()) least = "0";
  text = fixed ? fmt::format("{{{}}}", least) : fmt::format("{{{},{}}}", least, most);
  return true;
}

void Translator::escape() {
  const char c = peek(1);
  CharacterSet set;
  if (take_class_escape(false, set)) {
    check_case(set);
    previous_.reset();
    return add_atom(set.pattern());
  }
  if (const auto code = take_code()) return add_literal(*code);
  previous_.reset();
  if (c >= '1' && c <= '9') return back_reference();
  at_ += 2;
  const std::string word = fmt::format("[{}{}]", kWordMembers, kWordsOutsideBrackets);
  switch (c) {
    case 'b':
      out_ += fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word);
      return;
    case 'B':
      out_ += fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
      return;
    case 'A':
    case 'Z':
    case 'z':
    case 'G':
    case 'K':
      out_ += {'\\', c};
      return;
    case 'N':
    case 'R':
      return add_atom(std::string({'\\', c}));
    case 'O':
      return add_atom(kAnyCharacter);
    case 'k':
    case 'g':
      if (peek() == '<' || peek() == '\'') {
        const size_t begin = at_++;
        take_until(pattern_[begin] == '<' ? ">" : "'");
        return add_atom(fmt::format("\\{}{}", c, pattern_.substr(begin, at_ - begin)));
      }
      break;
    default:
      break;
  }
  refuse(fmt::format("'\\{}'", c));
}

void Translator::back_reference() {
  size_t end = at_ + 1;
  while (end < pattern_.size() && is_ascii_digit(pattern_[end])) ++end;
  const std::string_view digits = pattern_.substr(at_ + 1, end - at_ - 1);
  if (digits.size() > 1) refuse(fmt::format("'\\{}'", digits));  // a group or an octal number
  at_ = end;
  add_atom(fmt::format("\\g{{{}}}", digits));
}

std::optional<char32_t> Translator::take_hex(size_t digits) {
  char32_t code = 0;
  size_t taken = 0;
  for (; taken < digits; ++taken) {
    const char c = peek(taken);
    const int value = is_ascii_digit(c)      ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (value < 0) break;
    code = code * 16 + char32_t(value);
  }
  at_ += taken;
  const bool scalar = code < 0xd800 || (code >= 0xe000 && code < 0x110000);
  return taken > 0 && scalar ? std::optional(code) : std::nullopt;
}

// The character of an escape that stands for one.
std::optional<char32_t> Translator::take_code() {
  constexpr std::string_view kControls = "t\tn\nr\rf\fv\va\ae\x1b";
  const char c = peek(1);
  const auto numbered = [&](size_t digits, char32_t largest) {
    const size_t begin = at_;
    at_ += 2;
    const bool braces = c == 'x' && take("{");
    const size_t first_digit = at_;
    const auto code = take_hex(braces ? 8 : digits);
    const bool whole = c != 'u' || at_ == first_digit + digits;
    if (!code || !whole || (!braces && *code > largest) || (braces && !take("}")))
      refuse(fmt::format("'{}'", pattern_.substr(begin, at_ - begin)));
    return *code;
  };
  if (c == 'x') return numbered(2, 0x7f);  // above that it is one byte of a character there
  if (c == 'u') return numbered(4, 0xffff);
  if (c == '0') {
    char32_t code = 0;
    at_ += 2;
    for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i) code = code * 8 + char32_t(pattern_[at_++] - '0');
    return code;
  }
  for (size_t i = 0; i < kControls.size(); i += 2) {
    if (c == kControls[i]) return at_ += 2, char32_t(kControls[i + 1]);
  }
  if (c == '\0' && at_ + 1 >= pattern_.size()) refuse("a '\\' at the end");
  if (is_ascii_letter(c) || is_ascii_digit(c)) return std::nullopt;
  ++at_;
  return next_code_point(pattern_, at_);
}

// An escape that stands for a set of characters.
bool Translator::take_class_escape(bool in_brackets, CharacterSet& set) {
  const char c = peek(1);
  const char lower = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  if (lower == 'p') {
    at_ += 1;
    set.add(property(in_brackets));
    return true;
  }
  std::string members(lower == 's'   ? kSpaceMembers
                      : lower == 'w' ? kWordMembers
                      : lower == 'd' ? R"(\p{Nd})"
                      : lower == 'h' ? kHexMembers
                                     : "");
  if (members.empty()) return false;
  at_ += 2;
  if (lower == 'w' && !in_brackets) members += kWordsOutsideBrackets;
  set.add(members, c != lower);
  return true;
}

CharacterSet Translator::property(bool in_brackets) {
  const size_t begin = at_ - 1;
  bool negated = peek() == 'P';
  ++at_;
  if (!take("{")) refuse(fmt::format("'\\{}' without '{{'", pattern_[at_ - 1]));
  if (take("^")) negated = !negated;
  std::string name;
  for (const char c : take_until("}")) {
    if (c == ' ' || c == '-' || c == '_') continue;
    name += c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  }
  std::optional<std::string_view> members = find(kProperties, name);
  if (!members) members = find(kPosixClasses, name);
  CharacterSet set;
  if (members) {
    const bool quirk = name == "word" && !in_brackets;
    set.add(std::string(*members) + std::string(quirk ? kWordsOutsideBrackets : ""), negated);
    return set;
  }
  if (name.empty() || !std::all_of(name.begin(), name.end(), is_ascii_letter))
    refuse(fmt::format("'{}'", pattern_.substr(begin, at_ - begin)));
  set.members = fmt::format("\\{}{{sc:{}}}", negated ? 'P' : 'p', name);
  return set;
}

// From behind the "[" to behind its "]".
CharacterSet Translator::bracket(int depth) {
  if (depth > kDeepestClass) refuse(fmt::format("a class in more than {} others", kDeepestClass));
  const bool negated = take("^");
  CharacterSet set = bracket_items(depth, true);
  while (take("&&")) {
    const CharacterSet more = bracket_items(depth, false);
    if (more.empty() || set.empty()) refuse("'&&' with nothing on one side");
    set = intersection(set, more);
  }
  if (!take("]") || set.empty()) refuse("a class without members or without ']'");
  return negated ? complement(set) : set;
}

// Up to "&&" or "]". `first`: it begins the class, where "]" is a member.
CharacterSet Translator::bracket_items(int depth, bool first) {
  CharacterSet set;
  bool after_set = false;
  for (; !at_end() && !rest().starts_with("&&") && (first || peek() != ']'); first = false) {
    if (after_set && peek() == '-' && peek(1) != ']') refuse("'-' behind a class");
    after_set = true;
    if (take_posix_class(set)) continue;
    if (peek() == '\\' && take_class_escape(true, set)) continue;
    if (take("[")) {
      set.add(bracket(depth + 1));
    } else {
      after_set = false;
      add_range(set);
    }
  }
  return set;
}

bool Translator::take_posix_class(CharacterSet& set) {
  if (!rest().starts_with("[:")) return false;
  const bool negated = peek(2) == '^';
  const size_t begin = at_ + (negated ? 3 : 2);
  size_t end = begin;
  while (end < pattern_.size() && is_ascii_letter(pattern_[end])) ++end;
  if (!pattern_.substr(end).starts_with(":]")) return false;
  const auto members = find(kPosixClasses, pattern_.substr(begin, end - begin));
  if (!members) refuse(fmt::format("'{}'", pattern_.substr(at_, end + 2 - at_)));
  at_ = end + 2;
  set.add(*members, negated);
  return true;
}

char32_t Translator::take_member() {
  if (peek() != '\\') return next_code_point(pattern_, at_);
  if (take("\\b")) return '\b';
  const auto code = take_code();
  if (!code) refuse(fmt::format("'\\{}' in brackets", peek(1)));
  return *code;
}

void Translator::add_range(CharacterSet& set) {
  const char32_t first = take_member();
  char32_t last = first;
  set.members += literal(first);
  if (peek() == '-' && peek(1) != ']' && peek(1) != '\0') {
    ++at_;
    CharacterSet none;
    if (peek() == '[' || rest().starts_with("&&") || (peek() == '\\' && take_class_escape(true, none)))
      refuse("a range that ends in a class");
    last = take_member();
    set.members += "-" + literal(last);
  }
  if (group().ignores_case && folds_to_several(first, last))
    refuse("a letter that folds to several where case is ignored");
}

// Where case is ignored Oniguruma folds the members of the whole class, PCRE2 those of each of its parts and of no
// property.
void Translator::check_case(const CharacterSet& set) const {
  if (!group().ignores_case) return;
  const std::string text = set.pattern();
  bool differs = text.starts_with("(?");
  for (const char* cased : {"{Lu}", "{Ll}", "{Lt}", "{Uppercase}", "{Lowercase}"})
    differs |= text.find(cased) != std::string::npos;
  if (differs) refuse(fmt::format("the class '{}' where case is ignored", text));
}

}  // namespace

std::string translate_oniguruma(std::string_view pattern) { return Translator(pattern).translate(); }

}  // namespace updraft::text
