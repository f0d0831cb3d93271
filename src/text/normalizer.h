// Normalizers: what happens to a stretch of text before it is cut into words. One class per component of
// tokenizer.json; text in and out is valid UTF-8.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/regex.h"

namespace updraft::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `first`: the stretch begins where the whole text begins; no longer when its beginning is taken away.
  virtual void normalize(std::string& text, bool& first) const = 0;
};
using Normalizers = std::vector<std::unique_ptr<const Normalizer>>;

void normalize(const Normalizers&, std::string& text, bool& first);

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// Puts `prefix` before every stretch that is not empty, or only before the one that begins the text.
std::unique_ptr<const Normalizer> make_prepend(std::string prefix, bool only_first);
std::unique_ptr<const Normalizer> make_replace(std::string pattern, std::string content);
std::unique_ptr<const Normalizer> make_replace(Regex pattern, std::string content);
std::unique_ptr<const Normalizer> make_unicode_form(UnicodeForm);
std::unique_ptr<const Normalizer> make_strip(bool left, bool right);
std::unique_ptr<const Normalizer> make_lower_case();

// Every occurrence of `pattern` (not empty), left to right, becomes `content`.
void replace_all(std::string& text, std::string_view pattern, std::string_view content);
// The same for a regular expression; an empty match inserts.
void replace_all(std::string& text, const Regex& pattern, std::string_view content);

}  // namespace updraft::text
