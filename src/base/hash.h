// Hash64: FNV-1a, 64 bits: to name things and to notice that they differ, not to defend against anyone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace updraft {

class Hash64 {
 public:
  Hash64& add(const void* bytes, size_t count) {
    const unsigned char* p = static_cast<const unsigned char*>(bytes);
    for (size_t i = 0; i < count; ++i) value_ = (value_ ^ p[i]) * 0x100000001b3u;
    return *this;
  }
  Hash64& add(std::string_view text) { return add(text.data(), text.size()).add_number(text.size()); }
  Hash64& add_number(uint64_t number) { return add(&number, sizeof number); }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace updraft
