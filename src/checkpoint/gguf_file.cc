#include "checkpoint/gguf_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace updraft::checkpoint {
namespace {

// The largest header that is read: real ones (a vocabulary of 256k tokens with merges) stay under 30 MB.
constexpr int64_t kMaxHeaderBytes = int64_t(256) << 20;
constexpr int64_t kMaxNameBytes = 65535;
constexpr int64_t kWindowBytes = 1 << 16;

enum ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kFloat64,
};

// Reads the header front to back through a small window.
class Cursor {
 public:
  explicit Cursor(const RandomAccess& input)
      : input_(input), where_(input.where()), end_(std::min(input.size(), kMaxHeaderBytes)) {}

  const std::string& where() const { return where_; }
  int64_t position() const { return position_; }
  int64_t left() const { return end_ - position_; }

  void take(void* out, int64_t bytes, const char* what) {
    if (bytes > left()) truncated(what);
    auto* to = static_cast<std::byte*>(out);
    while (bytes > 0) {
      if (position_ < window_begin_ || position_ >= window_begin_ + window_bytes_) refill();
      const int64_t inside = position_ - window_begin_;
      const int64_t chunk = std::min(bytes, window_bytes_ - inside);
      std::memcpy(to, window_.data() + inside, size_t(chunk));
      to += chunk, position_ += chunk, bytes -= chunk;
    }
  }

  template <class T>
  T scalar(const char* what) {
    static_assert(std::endian::native == std::endian::little && std::is_arithmetic_v<T>);
    T value;
    take(&value, sizeof value, what);
    return value;
  }

  // A length or count of things that take at least `each` bytes in the file.
  int64_t count(int64_t each, const char* what) {
    const uint64_t value = scalar<uint64_t>(what);
    if (value > uint64_t(left() / each))
      fail("{}: {} is {}, more than the rest of the file can hold; the file is truncated or corrupt.", where(), what,
           value);
    return int64_t(value);
  }

  std::string string(const char* what) {
    std::string text(size_t(count(1, what)), '\0');
    take(text.data(), int64_t(text.size()), what);
    return text;
  }

  [[noreturn]] void truncated(const char* what) const {
    fail("{}: the file ends inside its header, at byte {}, while reading {}; download it again.", where(), position_,
         what);
  }

 private:
  void refill() {
    window_begin_ = position_;
    window_bytes_ = std::min(kWindowBytes, end_ - position_);
    window_.resize(size_t(window_bytes_));
    input_.read_at(window_begin_, window_.data(), window_bytes_);
  }

  const RandomAccess& input_;
  std::string where_;
  int64_t end_;
  int64_t position_ = 0;
  int64_t window_begin_ = 0;
  int64_t window_bytes_ = 0;
  std::vector<std::byte> window_;
};

// Keys and names go into error messages and lookups: printable ASCII only.
std::string read_name(Cursor& in, const char* what) {
  std::string name = in.string(what);
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c < 127; });
  if (name.empty() || int64_t(name.size()) > kMaxNameBytes || !printable)
    fail("{}: {} before byte {} is empty, too long or not printable ASCII; the file is corrupt.", in.where(), what,
         in.position());
  return name;
}

int64_t value_bytes(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kFloat32:
      return 4;
    case kU64:
    case kI64:
    case kFloat64:
    case kString:
      return 8;
    default:
      return 0;
  }
}

int64_t read_integer(Cursor& in, uint32_t type, const std::string& key) {
  switch (type) {
    case kU8:
    case kBool:
      return in.scalar<uint8_t>("a value");
    case kI8:
      return in.scalar<int8_t>("a value");
    case kU16:
      return in.scalar<uint16_t>("a value");
    case kI16:
      return in.scalar<int16_t>("a value");
    case kU32:
      return in.scalar<uint32_t>("a value");
    case kI32:
      return in.scalar<int32_t>("a value");
    case kI64:
      return in.scalar<int64_t>("a value");
    default:
      break;
  }
  const uint64_t value = in.scalar<uint64_t>("a value");
  if (value > uint64_t(INT64_MAX)) fail("{}: key {} is {}, beyond any sensible value.", in.where(), key, value);
  return int64_t(value);
}

GgufValue read_array(Cursor& in, const std::string& key) {
  const auto type = in.scalar<uint32_t>("the element type of an array");
  const int64_t each = value_bytes(type);
  if (each == 0 || type == kFloat64)
    fail("{}: key {} is an array of type {}, which is not supported.", in.where(), key, type);
  const int64_t count = in.count(each, "the length of an array");
  if (type == kString) {
    std::vector<std::string> strings;  // not reserved: a string object is larger than its 8 bytes in the file
    for (int64_t i = 0; i < count; ++i) strings.push_back(in.string("a string's length"));
    return strings;
  }
  if (type == kFloat32) {
    std::vector<float> floats(static_cast<size_t>(count));
    in.take(floats.data(), count * each, "an array");
    return floats;
  }
  std::vector<int64_t> integers;
  for (int64_t i = 0; i < count; ++i) integers.push_back(read_integer(in, type, key));
  return integers;
}

GgufValue read_value(Cursor& in, const std::string& key) {
  const auto type = in.scalar<uint32_t>("the type of a value");
  if (type == kString) return in.string("a string's length");
  if (type == kArray) return read_array(in, key);
  if (type == kFloat32) return double(in.scalar<float>("a value"));
  if (type == kFloat64) return in.scalar<double>("a value");
  if (type == kBool) return in.scalar<uint8_t>("a value") != 0;
  if (value_bytes(type) == 0) fail("{}: key {} has the unknown value type {}.", in.where(), key, type);
  return read_integer(in, type, key);
}

GgufTensor read_tensor(Cursor& in) {
  GgufTensor tensor;
  tensor.name = read_name(in, "a tensor's name");
  const auto dims = in.scalar<uint32_t>("a tensor's number of dimensions");
  if (dims < 1 || dims > 4)
    fail("{}: tensor {} has {} dimensions; between one and four are allowed.", in.where(), tensor.name, dims);
  int64_t elements = 1;
  for (uint32_t d = 0; d < dims; ++d) {
    const auto extent = in.scalar<int64_t>("a tensor's shape");
    if (extent < 1 || __builtin_mul_overflow(elements, extent, &elements))
      fail("{}: tensor {} has an impossible shape (a dimension of {}).", in.where(), tensor.name, extent);
    tensor.shape.insert(tensor.shape.begin(), extent);
  }
  const auto id = in.scalar<uint32_t>("a tensor's type");
  tensor.type = gguf_type_traits(id);
  if (tensor.type == nullptr)
    fail(
        "{}: tensor {} is stored as {}, which is not supported; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, "
        "Q8_0, Q4_K, Q5_K and Q6_K.",
        in.where(), tensor.name, gguf_type_name(id));
  if (tensor.shape.back() % tensor.type->block_elements != 0)
    fail("{}: tensor {} has rows of {} elements, which blocks of {} ({}) cannot hold.", in.where(), tensor.name,
         tensor.shape.back(), tensor.type->block_elements, tensor.type->name);
  if (__builtin_mul_overflow(elements / tensor.type->block_elements, tensor.type->block_bytes, &tensor.bytes))
    fail("{}: tensor {} has an impossible shape.", in.where(), tensor.name);
  const auto offset = in.scalar<uint64_t>("a tensor's offset");
  if (offset > uint64_t(INT64_MAX)) fail("{}: tensor {} has an impossible offset.", in.where(), tensor.name);
  tensor.offset = int64_t(offset);  // made absolute by place_tensors
  return tensor;
}

int64_t alignment_of(const GgufFile& file, const std::string& where) {
  const auto found = file.values.find("general.alignment");
  if (found == file.values.end()) return 32;
  const int64_t* alignment = std::get_if<int64_t>(&found->second);
  if (alignment == nullptr || *alignment < 1 || *alignment > (1 << 30) || !std::has_single_bit(uint64_t(*alignment)))
    fail("{}: general.alignment is not a power of two.", where);
  return *alignment;
}

// Turns offsets relative to the data into offsets in the file, and checks that every tensor lies inside the file,
// aligned, and that no two overlap.
void place_tensors(GgufFile& file, int64_t header_bytes, const RandomAccess& input) {
  const std::string where = input.where();
  const int64_t size = input.size();
  const int64_t alignment = alignment_of(file, where);
  const int64_t data = (header_bytes + alignment - 1) / alignment * alignment;
  for (GgufTensor& tensor : file.tensors) {
    if (tensor.offset % alignment != 0)
      fail("{}: tensor {} starts at {}, which is not a multiple of the alignment {}.", where, tensor.name,
           tensor.offset, alignment);
    int64_t end;
    if (__builtin_add_overflow(tensor.offset, data, &tensor.offset) ||
        __builtin_add_overflow(tensor.offset, tensor.bytes, &end) || end > size)
      fail(
          "{}: tensor {} ({} bytes) reaches beyond the end of the file ({} bytes); the file is truncated, download it "
          "again.",
          where, tensor.name, tensor.bytes, size);
  }
  std::vector<const GgufTensor*> sorted;
  for (const GgufTensor& tensor : file.tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i - 1]->offset + sorted[i - 1]->bytes > sorted[i]->offset)
      fail("{}: tensors {} and {} overlap; the file is corrupt.", where, sorted[i - 1]->name, sorted[i]->name);
}

void check_preamble(Cursor& in) {
  char magic[4];
  if (in.left() < 4) fail("{}: the file is too short to be a GGUF file.", in.where());
  in.take(magic, 4, "the magic number");
  if (std::memcmp(magic, "GGUF", 4) != 0)
    fail("{}: this is not a GGUF file (it does not begin with the letters GGUF).", in.where());
  const auto version = in.scalar<uint32_t>("the version");
  if ((version & 0xffff) == 0)
    fail("{}: this GGUF file is big-endian; only little-endian files are supported.", in.where());
  if (version != 2 && version != 3)
    fail("{}: this is GGUF version {}; versions 2 and 3 are supported.", in.where(), version);
}

}  // namespace

GgufFile parse_gguf(const RandomAccess& input) {
  Cursor in(input);
  check_preamble(in);
  const int64_t tensors = in.count(24, "the number of tensors");  // name's length, dimensions, type, offset
  const int64_t keys = in.count(12, "the number of keys");        // key's length, type
  GgufFile file;
  for (int64_t i = 0; i < keys; ++i) {
    std::string key = read_name(in, "a key");
    GgufValue value = read_value(in, key);
    if (!file.values.emplace(key, std::move(value)).second)
      fail("{}: key {} appears twice; the file is corrupt.", in.where(), key);
  }
  std::set<std::string> names;
  for (int64_t i = 0; i < tensors; ++i) {
    file.tensors.push_back(read_tensor(in));
    if (!names.insert(file.tensors.back().name).second)
      fail("{}: tensor {} appears twice; the file is corrupt.", in.where(), file.tensors.back().name);
  }
  place_tensors(file, in.position(), input);
  return file;
}

}  // namespace updraft::checkpoint
