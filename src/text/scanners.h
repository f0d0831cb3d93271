// Scanners: the pre-tokenization patterns that models in use have, written out by hand. Each gives exactly the matches
// of its regular expression; every one of these patterns covers the whole text, so the next piece begins where one
// ends.
#pragma once

#include <cstddef>
#include <string_view>

namespace updraft::text {

// The end of the piece that begins at `begin` (< text.size()). The text must be valid UTF-8.
using Scanner = size_t (*)(std::string_view text, size_t begin);

size_t scan_gpt2(std::string_view text, size_t begin);
size_t scan_llama3(std::string_view text, size_t begin);  // up to three digits together
size_t scan_qwen2(std::string_view text, size_t begin);   // the same with single digits
size_t scan_tekken(std::string_view text, size_t begin);  // words also split at changes of case

// The scanner of a known regular expression, as it is spelled in tokenizer.json; null for any other.
Scanner scanner_of(std::string_view pattern);
std::string_view pattern_of(Scanner scanner);

}  // namespace updraft::text
