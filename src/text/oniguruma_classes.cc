#include "text/oniguruma_classes.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"

namespace updraft::text {
namespace {

using Name = std::pair<std::string_view, std::string_view>;

// [[:name:]], and \p{name} where the two below do not say otherwise.
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

// General categories: \p{long name} and \p{short name}, by either in lower case.
constexpr auto kCategories = std::to_array<Name>({{"letter", "L"},
                                                  {"uppercaseletter", "Lu"},
                                                  {"lowercaseletter", "Ll"},
                                                  {"titlecaseletter", "Lt"},
                                                  {"modifierletter", "Lm"},
                                                  {"otherletter", "Lo"},
                                                  {"mark", "M"},
                                                  {"nonspacingmark", "Mn"},
                                                  {"spacingmark", "Mc"},
                                                  {"enclosingmark", "Me"},
                                                  {"number", "N"},
                                                  {"decimalnumber", "Nd"},
                                                  {"letternumber", "Nl"},
                                                  {"othernumber", "No"},
                                                  {"punctuation", "P"},
                                                  {"connectorpunctuation", "Pc"},
                                                  {"dashpunctuation", "Pd"},
                                                  {"openpunctuation", "Ps"},
                                                  {"closepunctuation", "Pe"},
                                                  {"initialpunctuation", "Pi"},
                                                  {"finalpunctuation", "Pf"},
                                                  {"otherpunctuation", "Po"},
                                                  {"symbol", "S"},
                                                  {"mathsymbol", "Sm"},
                                                  {"currencysymbol", "Sc"},
                                                  {"modifiersymbol", "Sk"},
                                                  {"othersymbol", "So"},
                                                  {"separator", "Z"},
                                                  {"spaceseparator", "Zs"},
                                                  {"lineseparator", "Zl"},
                                                  {"paragraphseparator", "Zp"},
                                                  {"other", "C"},
                                                  {"control", "Cc"},
                                                  {"format", "Cf"},
                                                  {"unassigned", "Cn"},
                                                  {"privateuse", "Co"}});

// Other properties by their names, likewise. What is in none of the tables can only be a script.
constexpr auto kProperties = std::to_array<Name>({{"any", R"(\x{00}-\x{10ffff})"},
                                                  {"assigned", R"(\P{Cn})"},
                                                  {"lc", R"(\p{L&})"},
                                                  {"casedletter", R"(\p{L&})"},
                                                  {"alphabetic", R"(\p{Alphabetic})"},
                                                  {"lowercase", R"(\p{Lowercase})"},
                                                  {"uppercase", R"(\p{Uppercase})"},
                                                  {"whitespace", kSpaceMembers},
                                                  {"emoji", R"(\p{Emoji})"},
                                                  {"emojipresentation", R"(\p{Emoji_Presentation})"},
                                                  {"extendedpictographic", R"(\p{Extended_Pictographic})"},
                                                  {"ideographic", R"(\p{Ideographic})"},
                                                  {"combiningmark", R"(\p{M})"},
                                                  {"punct", R"(\p{P})"}});

template <size_t kSize>
std::optional<std::string> find(const std::array<Name, kSize>& names, std::string_view name) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const Name& n) { return n.first == name; });
  return found == names.end() ? std::nullopt : std::optional<std::string>(found->second);
}

std::optional<std::string> category_members(std::string_view name) {
  const auto is_short = [&](std::string_view known) {
    return std::equal(name.begin(), name.end(), known.begin(), known.end(),
                      [](char given, char letter) { return given == char(letter | 0x20); });
  };
  for (const auto& [long_name, short_name] : kCategories)
    if (name == long_name || is_short(short_name)) return fmt::format("\\p{{{}}}", short_name);
  return std::nullopt;
}

}  // namespace

std::optional<std::string> posix_class(std::string_view name) { return find(kPosixClasses, name); }

std::optional<std::string> property_class(std::string_view name) {
  if (auto members = category_members(name)) return members;
  if (auto members = find(kProperties, name)) return members;
  return posix_class(name);
}

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

void CharacterSet::add(std::string_view more, bool negated) {
  if (negated) {
    others.push_back(fmt::format("[^{}]", more));
  } else {
    members += more;
  }
}

void CharacterSet::add(const CharacterSet& set) {
  members += set.members;
  others.insert(others.end(), set.others.begin(), set.others.end());
}

std::string CharacterSet::pattern() const {
  std::string text = members.empty() ? "" : "[" + members + "]";
  for (const std::string& other : others) text += (text.empty() ? "" : "|") + other;
  return others.size() + (members.empty() ? 0 : 1) == 1 ? text : "(?:" + text + ")";
}

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

}  // namespace updraft::text
