// The byte-level alphabet of GPT-2: every byte has a printable character that stands for it in vocabulary files.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace updraft::text {

// byte -> its character, as UTF-8
const std::array<std::string, 256>& byte_level_characters();
// "Ġthe" -> " the"; nothing when a character stands for no byte.
std::optional<std::string> byte_level_bytes(std::string_view token);

// "<0x0A>" -> 10: the token of a single byte in vocabularies with byte fallback.
std::optional<uint8_t> byte_fallback_value(std::string_view token);

}  // namespace updraft::text
