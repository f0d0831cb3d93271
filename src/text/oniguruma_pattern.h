// The regular expressions of tokenizer.json are written for Oniguruma; PCRE2, which runs them here, reads some of them
// otherwise: "&&" and "[" in brackets, \h, \p{Han}, "{1,3}+", (?m:.).
#pragma once

#include <string>
#include <string_view>

namespace updraft::text {

// A pattern for PCRE2 (UTF, UCP, MULTILINE, lines end in LF) that matches what `pattern` matches in Oniguruma. Throws
// Error that names what has no such pattern; what is wrong in both is left to PCRE2 to refuse.
std::string translate_oniguruma(std::string_view pattern);

}  // namespace updraft::text
