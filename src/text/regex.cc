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

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct Regex::Impl {
  pcre2_code* code = nullptr;
  std::string pattern;

  ~Impl() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern) : impl_(std::make_unique<Impl>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->pattern = pattern;
  impl_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
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
