#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"

namespace updraft::text {
namespace {

std::string error_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// The members of \s and \w where tokenizer.json files are written for (Oniguruma): PCRE2 counts U+180E as a space, and
// no marks and connectors as word characters.
constexpr std::string_view kSpaceMembers =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWordsOutsideBrackets = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";  // a quirk of Oniguruma
constexpr std::string_view kWordMembers =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";

// The pattern with \s and \w (and outside of brackets \S and \W) spelled out.
std::string spell_out_classes(std::string_view pattern) {
  std::string out;
  bool in_brackets = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      if (c == '[') in_brackets = true;
      if (c == ']') in_brackets = false;
      out += c;
      continue;
    }
    const char escaped = pattern[++i];
    const bool negated = escaped == 'S' || escaped == 'W';
    const std::string_view members = escaped == 's' || escaped == 'S'   ? kSpaceMembers
                                     : escaped == 'w' || escaped == 'W' ? kWordMembers
                                                                        : std::string_view();
    if (members.empty() || (negated && in_brackets)) {
      out += {c, escaped};
    } else if (in_brackets) {
      out += members;
    } else {
      out.append(negated ? "[^" : "[").append(members);
      out.append(members == kWordMembers ? kWordsOutsideBrackets : std::string_view()).append("]");
    }
  }
  return out;
}

std::string library_string(uint32_t what) {
  char text[64] = {};
  pcre2_config(what, text);
  return text;
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct Regex::Impl {
  pcre2_code* code = nullptr;
  std::string pattern;

  ~Impl() { pcre2_code_free(code); }
};

std::string Regex::description() {
  const std::string version = library_string(PCRE2_CONFIG_VERSION);
  return fmt::format("PCRE2 {} with Unicode {}", version.substr(0, version.find(' ')),
                     library_string(PCRE2_CONFIG_UNICODE_VERSION));
}

Regex::Regex(const std::string& pattern) : impl_(std::make_unique<Impl>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->pattern = pattern;
  const std::string spelled = spell_out_classes(pattern);
  impl_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(), PCRE2_UTF | PCRE2_UCP,
                              &error, &offset, nullptr);
  if (impl_->code == nullptr) {
    fail("The tokenizer's regular expression '{}' is not supported: {} at offset {}.", pattern, error_message(error),
         offset);
  }
  pcre2_jit_compile(impl_->code, PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter does the same
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

std::optional<std::pair<size_t, size_t>> Regex::find(std::string_view text, size_t begin) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
      pcre2_match_data_create_from_pattern(impl_->code, nullptr));
  const int result = pcre2_match(impl_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), begin,
                                 PCRE2_NO_UTF_CHECK, data.get(), nullptr);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0)
    fail("The tokenizer's regular expression '{}' failed on a text: {}.", impl_->pattern, error_message(result));
  const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(data.get());
  if (bounds[1] < bounds[0]) return std::nullopt;  // \K in a look-ahead: no pattern of a tokenizer means that
  return std::pair<size_t, size_t>(bounds[0], bounds[1]);
}

}  // namespace updraft::text
