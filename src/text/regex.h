// Regex: a pattern written for Oniguruma, as those of tokenizer.json are, run by PCRE2 (oniguruma_pattern.h), over
// UTF-8 with Unicode classes: for patterns that have no scanner of their own. Its Unicode version is the library's (14
// in Debian 12), older than that of the generated tables: letters that came later are none here (docs/guide.md). The
// known patterns never come here.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace updraft::text {

class Regex {
 public:
  // Throws Error that quotes the pattern, which PCRE2 refuses or has no words for. Its sentence has no full stop: who
  // catches it names the file and the remedy.
  explicit Regex(const std::string& pattern);
  static std::string description();  // "PCRE2 10.42 with Unicode 14.0.0"
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // First match at or behind `begin`: [start, end) in bytes. Throws Error when the pattern backtracks beyond PCRE2's
  // limits.
  std::optional<std::pair<size_t, size_t>> find(std::string_view valid_utf8, size_t begin) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace updraft::text
