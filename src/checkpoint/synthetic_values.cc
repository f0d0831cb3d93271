#include "checkpoint/synthetic_values.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

namespace updraft::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int64_t kBlock = 1024;        // elements that share one 64-bit hash
constexpr int64_t kPairs = kBlock / 2;  // two elements to a 32-bit word
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t hash_name(std::string_view name) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ uint8_t(c)) * 0x100000001b3;
  return hash;
}

// A pair of bfloat16 patterns is (random & kept) | base.
struct Pattern {
  uint32_t kept;
  uint32_t bfloat16_base;
  uint32_t half_base;
};
constexpr Pattern kMatrix = {0x80ff80ff, 0x3c003c00, 0x20002000};  // sign, lowest exponent bit and mantissa; 2^-7
constexpr Pattern kNorm = {0x000f000f, 0x3f803f80, 0x3c003c00};    // four low bits of the mantissa; 1

// Words of noise, the same in every program: small enough to stay in the first-level cache.
constexpr size_t kNoiseWords = 8192;  // a power of two
using Noise = std::array<uint32_t, kNoiseWords + size_t(kPairs)>;

const Noise& noise() {
  static const Noise words = [] {
    Noise w;
    for (size_t i = 0; i < w.size(); ++i) w[i] = uint32_t(mix(uint64_t(i + 1) * kGolden));
    return w;
  }();
  return words;
}

// Random words of a block: a stretch of the noise that begins anywhere, its bits flipped by a mask of the block's own.
// BF16 into a buffer in cache, one thread of an Intel Xeon with AMX: 17 GB/s; a hash of every word made 6.
void fill_words(uint64_t key, int64_t block, uint32_t* __restrict words) {
  const uint64_t start = mix(key + uint64_t(block) * kGolden);
  const auto flips = uint32_t(start);
  const uint32_t* from = noise().data() + (start >> 32) % kNoiseWords;
  for (int64_t j = 0; j < kPairs; ++j) words[j] = from[j] ^ flips;
}

void as_bfloat16(Pattern pattern, uint32_t* words) {
  for (int64_t j = 0; j < kPairs; ++j) words[j] = (words[j] & pattern.kept) | pattern.bfloat16_base;
}

// The same values: the exponent's lowest bit and the seven bits of mantissa move up by three.
void as_half(Pattern pattern, uint32_t* words) {
  for (int64_t j = 0; j < kPairs; ++j) {
    const uint32_t bits = words[j] & pattern.kept;
    words[j] = (bits & 0x80008000) | (bits & 0x00ff00ff) << 3 | pattern.half_base;
  }
}

// words[kBlock], of which the first kPairs hold pairs.
void as_float(Pattern pattern, uint32_t* words) {
  uint32_t pairs[kPairs];
  std::memcpy(pairs, words, sizeof pairs);
  as_bfloat16(pattern, pairs);
  for (int64_t j = 0; j < kPairs; ++j) {
    words[2 * j] = pairs[j] << 16;
    words[2 * j + 1] = pairs[j] & 0xffff0000;
  }
}

}  // namespace

SyntheticValues::SyntheticValues(uint64_t seed, std::string_view tensor_name)
    : key_(mix(seed * kGolden + hash_name(tensor_name))), norm_(tensor_name.find("norm.") != std::string_view::npos) {}

void SyntheticValues::write(int64_t begin, int64_t end, DType dtype, void* out) const {
  const Pattern pattern = norm_ ? kNorm : kMatrix;
  const int64_t size = bytes_per_element(dtype);
  auto* to = static_cast<std::byte*>(out);
  for (int64_t at = begin; at < end;) {
    alignas(64) uint32_t words[kBlock];
    const int64_t block = at / kBlock;
    fill_words(key_, block, words);
    switch (dtype) {
      case DType::kBF16:
        as_bfloat16(pattern, words);
        break;
      case DType::kF16:
        as_half(pattern, words);
        break;
      case DType::kF32:
        as_float(pattern, words);
        break;
    }
    const int64_t count = std::min(end, (block + 1) * kBlock) - at;
    std::memcpy(to, reinterpret_cast<const std::byte*>(words) + (at - block * kBlock) * size, size_t(count * size));
    to += count * size;
    at += count;
  }
}

}  // namespace updraft::checkpoint
