#include "text/normalizer.h"

#include <string_view>
#include <utility>

#include "text/unicode.h"
#include "text/unicode_form.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

class Prepend : public Normalizer {
 public:
  Prepend(std::string prefix, bool only_first) : prefix_(std::move(prefix)), only_first_(only_first) {}
  void normalize(std::string& text, bool& first) const override {
    if (!text.empty() && (first || !only_first_)) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
  bool only_first_;
};

class ReplaceString : public Normalizer {
 public:
  ReplaceString(std::string pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void normalize(std::string& text, bool& first) const override {
    if (content_.empty() && text.starts_with(pattern_)) first = false;
    replace_all(text, pattern_, content_);
  }

 private:
  std::string pattern_, content_;
};

class ReplaceRegex : public Normalizer {
 public:
  ReplaceRegex(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void normalize(std::string& text, bool&) const override { replace_all(text, pattern_, content_); }

 private:
  Regex pattern_;
  std::string content_;
};

class Form : public Normalizer {
 public:
  explicit Form(UnicodeForm form) : form_(form) {}
  void normalize(std::string& text, bool&) const override { to_unicode_form(text, form_); }

 private:
  UnicodeForm form_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void normalize(std::string& text, bool& first) const override {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    size_t begin = 0, end = text.size();
    for (size_t i = 0; left_ && i < end; begin = i) {
      if (classes.category(next_code_point(text, i)) != kSpace) break;
    }
    while (right_ && end > begin) {
      const size_t previous = previous_character(text, end);
      size_t i = previous;
      if (classes.category(next_code_point(text, i)) != kSpace) break;
      end = previous;
    }
    if (begin > 0) first = false;
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

class LowerCase : public Normalizer {
 public:
  void normalize(std::string& text, bool&) const override { text = lower_case(text); }
};

}  // namespace

void normalize(const Normalizers& normalizers, std::string& text, bool& first) {
  for (const auto& normalizer : normalizers) normalizer->normalize(text, first);
}

std::unique_ptr<const Normalizer> make_prepend(std::string prefix, bool only_first) {
  return std::make_unique<Prepend>(std::move(prefix), only_first);
}
std::unique_ptr<const Normalizer> make_replace(std::string pattern, std::string content) {
  return std::make_unique<ReplaceString>(std::move(pattern), std::move(content));
}
std::unique_ptr<const Normalizer> make_replace(Regex pattern, std::string content) {
  return std::make_unique<ReplaceRegex>(std::move(pattern), std::move(content));
}
std::unique_ptr<const Normalizer> make_unicode_form(UnicodeForm form) { return std::make_unique<Form>(form); }
std::unique_ptr<const Normalizer> make_strip(bool left, bool right) { return std::make_unique<Strip>(left, right); }
std::unique_ptr<const Normalizer> make_lower_case() { return std::make_unique<LowerCase>(); }

void replace_all(std::string& text, std::string_view pattern, std::string_view content) {
  size_t found = text.find(pattern);
  if (found == std::string::npos || pattern.empty()) return;
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  size_t begin = 0;
  for (; found != std::string::npos; found = text.find(pattern, begin)) {
    out.append(text, begin, found - begin);
    out += content;
    begin = found + pattern.size();
  }
  out.append(text, begin);
  text = std::move(out);
}

void replace_all(std::string& text, const Regex& pattern, std::string_view content) {
  std::string out;
  size_t copied = 0, search = 0;
  while (search <= text.size()) {
    const auto match = pattern.find(text, search);
    if (!match) break;
    out.append(text, copied, match->first - copied);
    out += content;
    copied = match->second;
    search = match->second;
    if (match->first == match->second) {  // empty: go on behind the next character, which is kept
      search += search < text.size() ? utf8_length(text[search]) : 1;
    }
  }
  out.append(text, copied);
  text = std::move(out);
}

}  // namespace updraft::text
