// Patterns written for Oniguruma find here what they find there: the pieces are those of tokenizers 0.23.
#include "text/oniguruma_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/error_text.h"
#include "text/regex.h"

namespace updraft::text {
namespace {

using test::error_text;
using testing::AllOf;
using testing::HasSubstr;

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const Regex regex(pattern);
  std::vector<std::string> found;
  for (size_t begin = 0; begin <= text.size();) {
    const auto match = regex.find(text, begin);
    if (!match) break;
    found.push_back(text.substr(match->first, match->second - match->first));
    begin = std::max(match->second, begin + 1);
  }
  return found;
}

TEST(OnigurumaPattern, FindsWhatItFindsThere) {
  struct Case {
    std::string pattern, text;
    std::vector<std::string> pieces;
  };
  const std::vector<Case> cases = {
      {R"([\p{Han}]+|[\p{L}&&[^\p{Han}]]+)", "ab日本cd", {"ab", "日本", "cd"}},
      {R"([^\s\p{L}]+|[\p{Lu}\p{Lo}&&[^\p{Han}]]+)", "カABb日!?", {"カAB", "!?"}},
      {"[a-z&&b-e&&[^c]]+", "abcdef", {"b", "de"}},
      {"[^a-c&&b-d]+", "abcd", {"a", "d"}},
      {R"( ?[^(\s|[.,!?…。，、।۔،])]+)", "日本。 a|b (c)x", {"日本", " a", "b", "c", "x"}},
      {"[a-c[X-Z]_]+", "aXd_Y", {"aX", "_Y"}},
      {"[^a-c[X-Z]]+", "aXd_Y", {"d_"}},
      {"[]a]+", "]ab", {"]a"}},
      {"[a-c-]+", "a-d", {"a-"}},
      {"[--a]+", "-a!", {"-a"}},
      {R"(\p{Han}+)", "日。本", {"日", "本"}},
      {R"(\p{Katakana}+)", "カー・ナ", {"カ", "ナ"}},
      {R"(\p{Inherited}+)", "a\u0301b", {"\u0301"}},
      {R"(\p{Uppercase_Letter}+)", "ABc", {"AB"}},
      {R"(\p{^Letter}+)", "ab12", {"12"}},
      {R"(\p{alpha}+)", "aⅷ1", {"aⅷ"}},
      {R"(\p{Punct}+)", "a!$", {"!"}},
      {R"(\p{Word}+)", "a².b", {"a²", "b"}},
      {R"(\p{Any})", "a\n", {"a", "\n"}},
      {"^a", "a\na", {"a", "a"}},
      {"a$", "a\na", {"a", "a"}},
      {".+", "a\r\nb", {"a\r", "b"}},
      {"(?m:.)+", "a\nb", {"a\nb"}},
      {"(?m)a.|(?-m:.)", "a\nb\n", {"a\n", "b"}},
      {"(?i:'S)|x", "'s'ſX", {"'s", "'ſ"}},
      {"a(?i)b|c", "aBaCcC", {"aB", "aC"}},
      {"((?i)a)A", "aAAa", {"aA"}},
      {"(?x) a b # c\n|d", "abcd a b", {"ab", "d"}},
      {R"([\W]+)", "a²_!", {"²", "!"}},
      {R"([^\W_]+)", "a²_b", {"a", "b"}},
      {R"([\S]+)", "a\u180e b", {"a\u180e", "b"}},
      {R"([^\S]+)", "a\u180e b", {" "}},
      {R"([^\S\n]+)", "a \n\tb", {" ", "\t"}},
      {R"(\W+)", "a²_!", {"!"}},
      {R"(\h+)", "xafgB9", {"af", "B9"}},
      {R"([\H]+)", "xafg", {"x", "g"}},
      {R"(\v)", "a\013\u0085\n", {"\013"}},
      {R"([\v])", "\013\n", {"\013"}},
      {R"(\bb+)", "e\u0301b b_b ²b", {"b"}},
      {R"(\Bb)", "ab\u0301b b", {"b", "b"}},
      {"[[:punct:]]+", "a!$€b", {"!$€"}},
      {"[[:^alpha:]]+", "aⅷ12b", {"12"}},
      {"[[:word:]]+", "a²_\u0301", {"a", "_\u0301"}},
      {"[[:alnum:]]+", "aⅷ٣²", {"aⅷ٣"}},
      {"[[:xdigit:]]+", "xaF", {"aF"}},
      {"[[:alpha]]+", "[alh:]", {"alh:"}},
      {"a{,2}b", "aaab", {"aab"}},
      {"a{1,2}+b", "aaaaab", {"aaaaab"}},
      {R"(\p{N}{1,3}+a)", "12345a", {"12345a"}},
      {"a{2}?b", "aab b", {"aab", "b"}},
      {"a{2,}?", "aaaa", {"aa", "aa"}},
      {"a{x}", "a{x}", {"a{x}"}},
      {"a++b|a?+a", "aab a", {"aab"}},
      {R"(\u3000+)", "a\u3000b", {"\u3000"}},
      {R"(\x41\x{3042})", "Aあ", {"Aあ"}},
      {R"(\t\f\e\a)", "\t\014\033\007", {"\t\014\033\007"}},
      {R"(\012)", "\n", {"\n"}},
      {R"([\b])", "a\010b", {"\010"}},
      {R"(\O+)", "a\nb", {"a\nb"}},
      {R"(\N+)", "a\nb", {"a", "b"}},
      {R"(\R)", "a\r\nb\u0085", {"\r\n", "\u0085"}},
      {R"(\N?\R)", "a\013c\r\nd", {"a\013", "c\r\n"}},
      {R"(\R{,2}\N\d)", "\0131\n\0132", {"\0131", "\n\0132"}},
      {R"((?<n>a)\k<n>)", "aab", {"aa"}},
      {R"((a|b)\1 c)", "bb c", {"bb c"}},
      {R"((?<=[\w&&[^a]])x)", "ax bx", {"x"}},
      {"(?>a+)b", "aab", {"aab"}},
      {"a(?#c)+", "aa", {"aa"}},
      {"(?<!a)b", "ab b", {"b"}},
      {R"(a\/\-\é?)", "a/-é", {"a/-é"}},
      {R"(a\Z)", "a\na\n", {"a"}},
      {R"(\Aa|a\z)", "aaa", {"a", "a"}},
  };
  for (const Case& c : cases) EXPECT_EQ(matches(c.pattern, c.text), c.pieces) << c.pattern << " on " << c.text;
}

TEST(OnigurumaPattern, ARunOfAMillionCharactersOfATranslatedClassIsOnePiece) {
  const std::string text(1000000, 'a');
  for (const char* pattern : {R"([^\W_]+)", R"([\p{L}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+)"})
    EXPECT_TRUE(matches(pattern, text) == std::vector{text}) << pattern;
}

TEST(OnigurumaPattern, WhatCannotBeSaidIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"(a\X)", R"('\X')"},
      {R"(\y)", R"('\y')"},
      {R"(\Qa\E)", R"('\Q')"},
      {R"(\101)", R"('\101')"},
      {R"(\xe3\x80\x80)", R"('\xe3')"},
      {R"(\u30)", R"('\u30')"},
      {R"(\pL)", R"('\p' without '{')"},
      {R"(\p{Script=Han})", R"('\p{Script=Han}')"},
      {R"(\p{InBasicLatin})", R"(\p{InBasicLatin})"},
      {"(?P<n>a)", "the group '(?P'"},
      {"(?~ab)", "the group '(?~'"},
      {"(?i:mass)", "folds to several"},
      {"(?i:[ß-ÿ])", "folds to several"},
      {R"(a|(?i)\p{Lu})", R"(the class '[\p{Lu}]')"},
      {R"([\w-x])", "'-' behind a class"},
      {R"([a-\d])", "a range that ends in a class"},
      {R"([a\R])", R"('\R' in brackets)"},
      {"[[:graph:]]", "'[:graph:]'"},
      {"[a&&]", "'&&' with nothing"},
      {"[[a]", "without ']'"},
      {"+a", "'+' with nothing to repeat"},
      {"a|{2}", "'{2}' with nothing to repeat"},
      {std::string(100, '[') + "a" + std::string(100, ']'), "a class in more than"},
      {"(?<=a+)b", "lookbehind"},
      {"a)", "a ')' without '('"},
      {"(?:a", "a '(' without ')'"},
      {"a\\", "a '\\' at the end"},
  };
  for (const auto& [pattern, what] : cases)
    EXPECT_THAT(error_text([&, pattern = pattern] { Regex regex(pattern); }),
                AllOf(HasSubstr("'" + pattern + "'"), HasSubstr(what)));
}

TEST(OnigurumaPattern, FoldsOfOneLetterAndPairsThatAreNoneAreLeft) {
  EXPECT_EQ(translate_oniguruma("(?i:'s|'t|'re|'ve|'m|'ll|'d)"), R"((?i:\'s|\'t|\'re|\'ve|\'m|\'ll|\'d))");
  EXPECT_EQ(translate_oniguruma("mass"), "mass");
}

}  // namespace
}  // namespace updraft::text
