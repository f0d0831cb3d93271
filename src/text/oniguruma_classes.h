// Sets of characters as Oniguruma names them and PCRE2 can spell them: [[:punct:]], \p{Letter}, \w, and what brackets
// make of several; and which letters are not the same where case is ignored. For oniguruma_pattern.cc.
// Source: pcre2pattern(3), and what `tokenizers` 0.23 does (tests/differential/tokenizer.py).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace updraft::text {

// Members of a class in brackets, as PCRE2 spells them: PCRE2's own \s has U+180E, its \w no marks and connectors.
inline constexpr std::string_view kSpaceMembers =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
inline constexpr std::string_view kWordMembers =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
inline constexpr std::string_view kHexMembers = "0-9A-Fa-f";
inline constexpr std::string_view kWordsOutsideBrackets = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";  // a quirk of Oniguruma
inline constexpr std::string_view kAnyCharacter = "(?s:.)";

// The members of [[:name:]], and of \p{name} (in lower case without spaces, "-" and "_"), as they stand between
// brackets.
std::optional<std::string> posix_class(std::string_view name);
std::optional<std::string> property_class(std::string_view name);

// A set of characters: what can stand between brackets, and patterns of one character each for what cannot.
struct CharacterSet {
  std::string members;
  std::vector<std::string> others;

  void add(std::string_view more, bool negated);
  void add(const CharacterSet&);
  bool empty() const { return members.empty() && others.empty(); }
  std::string pattern() const;
};
CharacterSet complement(const CharacterSet&);
CharacterSet intersection(const CharacterSet&, const CharacterSet&);

// Whether one of these characters folds to several, by which Oniguruma matches it too. A little too many.
bool folds_to_several(char32_t first, char32_t last);
// Whether one character may fold to these two: "ss" of U+00DF, "fi" of U+FB01, a letter and an accent, ...
bool may_be_one_folded(char32_t a, char32_t b);

}  // namespace updraft::text
