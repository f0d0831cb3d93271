#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "text/oniguruma_pattern.h"

namespace updraft::text {
namespace {

std::string error_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

std::string library_string(uint32_t what) {
  char text[64] = {};
  pcre2_config(what, text);
  return text;
}

struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};
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
  const std::string translated = translate_oniguruma(pattern);
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_bsr(context.get(), PCRE2_BSR_UNICODE);
  impl_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context.get());
  if (impl_->code == nullptr) {
    fail("The tokenizer's regular expression '{}' is not supported: {} (as '{}', at offset {})", pattern,
         error_message(error), translated, offset);
  }
  pcre2_jit_compile(impl_->code, PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter does the same
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

std::optional<std::pair<size_t, size_t>> Regex::find(std::string_view text, size_t begin) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
      pcre2_match_data_create_from_pattern(impl_->code, nullptr));
  const auto match = [&](uint32_t options) {
    return pcre2_match(impl_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), begin,
                       PCRE2_NO_UTF_CHECK | options, data.get(), nullptr);
  };
  int result = match(0);
  // A class that is translated to a look-ahead takes stack for every character of a run; the interpreter's is the heap.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0)
    fail("The tokenizer's regular expression '{}' failed on a text: {}.", impl_->pattern, error_message(result));
  const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(data.get());
  if (bounds[1] < bounds[0]) return std::nullopt;  // \K in a look-ahead: no pattern of a tokenizer means that
  return std::pair<size_t, size_t>(bounds[0], bounds[1]);
}

}  // namespace updraft::text
