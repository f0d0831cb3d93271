#include "text/oniguruma_pattern.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/oniguruma_classes.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

constexpr int kDeepestClass = 32;

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }
bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string literal(char32_t c) {
  if (c <= ' ' || c == 0x7f || (c >= 0x80 && c <= 0xa0)) return fmt::format("\\x{{{:02x}}}", uint32_t(c));
  std::string text;
  append_utf8(text, c);
  if (c < 0x80 && !is_ascii_letter(char(c)) && !is_ascii_digit(char(c))) text.insert(0, "\\");
  return text;
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
      return add_atom("\\N");
    case 'R':
      // Written out: PCRE2 takes nothing of \N for a beginning of \R, and so never gives a \v back in \N?\R.
      return add_atom("(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])");
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
  CharacterSet set;
  if (auto members = property_class(name)) {
    if (name == "word" && !in_brackets) *members += kWordsOutsideBrackets;
    set.add(*members, negated);
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
  const auto members = posix_class(pattern_.substr(begin, end - begin));
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
