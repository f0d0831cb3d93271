#include "checkpoint/packed_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/half.h"

namespace updraft::checkpoint {
namespace {

// The column that nibble i of a word of AWQ's holds, beside the others of its eight.
constexpr std::array<int, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

[[noreturn]] void refuse(const std::string& name, const LocatedTensor& part, const std::string& what) {
  fail("{}: tensor {} of the quantized {}: {}.", part.file->where(), part.stored.name, name, what);
}

// What the weights of one matrix look like, the same for every way of packing.
struct Layout {
  std::string name;
  int64_t rows = 0, columns = 0;
  int bits = 4;
  int64_t group = 0;  // columns
  int64_t groups = 0;
};

void expect_shape(const Layout& layout, const LocatedTensor& part, const std::vector<int64_t>& shape) {
  if (part.stored.shape != shape)
    refuse(layout.name, part,
           fmt::format("its shape is {}, but {} is needed for {} rows of {} columns in {} bits and groups of {}",
                       show_shape(part.stored.shape), show_shape(shape), layout.rows, layout.columns, layout.bits,
                       layout.group));
}

void expect_type(const Layout& layout, const LocatedTensor& part, const char* type) {
  if (part.stored.type != type)
    refuse(layout.name, part, fmt::format("is stored as {}, but {} is needed", part.stored.type, type));
}

const LocatedTensor& needed(const Layout& layout, const LocatedTensor* part, const LocatedTensor& beside,
                            const char* what) {
  if (part == nullptr) refuse(layout.name, beside, fmt::format("there are no {} beside it", what));
  return *part;
}

template <class T>
std::vector<T> read_all(const LocatedTensor& part) {
  std::vector<T> values(size_t(part.stored.bytes) / sizeof(T));
  part.file->read_at(part.stored.begin, values.data(), int64_t(values.size() * sizeof(T)));
  return values;
}

// Scales [rows, groups] as 16-bit values; the type they are in.
struct Scales {
  std::vector<uint16_t> bits;
  DType type = DType::kF16;
};

// What the scales are kept in: F32 is rounded.
DType kept_scale_type(const LocatedTensor& part) { return part.stored.type == "BF16" ? DType::kBF16 : DType::kF16; }

Scales read_scales(const Layout& layout, const LocatedTensor& part, bool groups_first) {
  Scales scales;
  scales.type = kept_scale_type(part);
  std::vector<uint16_t> stored;
  if (part.stored.type == "F16" || part.stored.type == "BF16") {
    stored = read_all<uint16_t>(part);
  } else {
    expect_type(layout, part, "F32");
    for (const float value : read_all<float>(part)) stored.push_back(to_half(value).bits);
  }
  const auto wide = [&](uint16_t bits) {
    return scales.type == DType::kF16 ? to_float(half_t{bits}) : to_float(bfloat16_t{bits});
  };
  for (const uint16_t bits : stored)
    if (!(std::abs(wide(bits)) <= 65504.0f))
      refuse(layout.name, part, "holds a scale that is no finite number of 16 bits");
  const bool one = stored.size() == 1;  // for the whole matrix
  scales.bits.resize(size_t(layout.rows * layout.groups));
  for (int64_t r = 0; r < layout.rows; ++r)
    for (int64_t g = 0; g < layout.groups; ++g) {
      const int64_t from = one ? 0 : groups_first ? g * layout.rows + r : r * layout.groups + g;
      scales.bits[size_t(r * layout.groups + g)] = stored[size_t(from)];
    }
  return scales;
}

// The matrix's integers, read whole at the first call and given back when every row has been asked for: the layouts of
// GPTQ and AWQ have a row's integers all over the tensor.
class HeldWords {
 public:
  HeldWords(LocatedTensor part, int64_t rows) : part_(std::move(part)), rows_(rows) {}

  std::shared_ptr<const std::vector<uint32_t>> get(int64_t rows_asked) const {
    const std::lock_guard lock(mutex_);
    if (words_ == nullptr) {
      words_ = std::make_shared<const std::vector<uint32_t>>(read_all<uint32_t>(part_));
      handed_ = 0;
    }
    std::shared_ptr<const std::vector<uint32_t>> words = words_;
    handed_ += rows_asked;
    if (handed_ >= rows_) words_.reset();
    return words;
  }

 private:
  LocatedTensor part_;
  int64_t rows_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const std::vector<uint32_t>> words_;
  mutable int64_t handed_ = 0;
};

// The format that rows of this layout come out in.
QuantizedFormat format_of(const Layout& layout, DType scale_type, bool zeros) {
  // A whole row is a multiple of anything: its last group may be shorter.
  const bool wide = layout.groups == 1 || layout.group % 128 == 0;
  return {.bits = layout.bits,
          .group = wide ? 128 : 32,
          .offset = zeros ? Offset::kPoint : Offset::kNone,
          .scale_type = scale_type};
}

// Everything but the integers: scales and zero points per stored group, spread over the groups of the format.
class PackedRows : public QuantizedRowSource {
 public:
  PackedRows(Layout layout, Scales scales, std::vector<uint16_t> zeros, std::vector<int32_t> order)
      : QuantizedRowSource(layout.rows, layout.columns, format_of(layout, scales.type, !zeros.empty())),
        layout_(std::move(layout)),
        scales_(std::move(scales.bits)),
        zeros_(std::move(zeros)),
        order_(std::move(order)),
        position_(size_t(columns())) {
    std::iota(position_.begin(), position_.end(), 0);
    for (size_t k = 0; k < order_.size(); ++k) position_[size_t(order_[k])] = int32_t(k);
  }

  std::span<const int32_t> input_order() const override { return order_; }

  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    CHECK(0 <= begin && begin <= end && end <= rows()) << begin << ' ' << end << ' ' << rows();
    const int64_t groups = format().groups(columns());
    for (int64_t r = begin; r < end; ++r)
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t from = r * layout_.groups + g * format().group / layout_.group, to = (r - begin) * groups + g;
        out.scales[to] = scales_[size_t(from)];
        if (!zeros_.empty()) out.offsets[to] = zero_bits_[zeros_[size_t(from)]];
      }
    if (begin < end) read_integers(begin, end, out.integers);
  }

 protected:
  const Layout& layout() const { return layout_; }
  int32_t position(int64_t column) const { return position_[size_t(column)]; }     // among the sorted columns
  virtual void read_integers(int64_t begin, int64_t end, uint8_t* out) const = 0;  // in input_order()

 private:
  Layout layout_;
  std::vector<uint16_t> scales_, zeros_;  // [rows, groups]; zeros as integers 0..256
  std::vector<int32_t> order_, position_;
  std::array<uint16_t, 257> zero_bits_ = [this] {
    std::array<uint16_t, 257> bits{};
    for (int i = 0; i <= 256; ++i)
      bits[size_t(i)] = format().scale_type == DType::kF16 ? to_half(float(i)).bits : to_bfloat16(float(i)).bits;
    return bits;
  }();
};

// compressed-tensors: a row's integers follow one another, in words (b bits each, lowest first) or as signed bytes.
class RowwiseRows final : public PackedRows {
 public:
  RowwiseRows(Layout layout, Scales scales, std::vector<uint16_t> zeros, std::vector<int32_t> order,
              LocatedTensor integers, bool words)
      : PackedRows(std::move(layout), std::move(scales), std::move(zeros), std::move(order)),
        integers_(std::move(integers)),
        words_(words),
        stored_row_bytes_(words ? 4 * ceil_divide(columns() * this->layout().bits, 32) : columns()) {}

 private:
  void read_integers(int64_t begin, int64_t end, uint8_t* out) const override {
    std::vector<uint8_t> stored(static_cast<size_t>(stored_row_bytes_));
    for (int64_t r = begin; r < end; ++r) {
      integers_.file->read_at(integers_.stored.begin + r * stored_row_bytes_, stored.data(), stored_row_bytes_);
      uint8_t* row = out + (r - begin) * columns();
      if (layout().bits == 8) {
        // Words hold value + 128 already; signed bytes hold the value.
        for (int64_t k = 0; k < columns(); ++k) row[position(k)] = uint8_t(stored[size_t(k)] + (words_ ? 0 : 128));
      } else {
        for (int64_t k = 0; k < columns(); ++k) row[position(k)] = (stored[size_t(k / 2)] >> (k % 2 * 4)) & 15;
      }
    }
  }

  LocatedTensor integers_;
  bool words_;
  int64_t stored_row_bytes_;
};

// GPTQ: [in / (32 / bits), out], a word has consecutive inputs of one output. AWQ: [in, out / 8], a word has eight
// outputs of one input.
class ColumnwiseRows final : public PackedRows {
 public:
  ColumnwiseRows(Layout layout, Scales scales, std::vector<uint16_t> zeros, std::vector<int32_t> order,
                 LocatedTensor integers, bool awq)
      : PackedRows(std::move(layout), std::move(scales), std::move(zeros), std::move(order)),
        words_(std::move(integers), rows()),
        awq_(awq) {}

 private:
  void read_integers(int64_t begin, int64_t end, uint8_t* out) const override {
    const auto held = words_.get(end - begin);
    const uint32_t* words = held->data();
    if (awq_)
      read_awq(words, begin, end, out);
    else
      read_gptq(words, begin, end, out);
  }

  void read_gptq(const uint32_t* words, int64_t begin, int64_t end, uint8_t* out) const {
    const int bits = layout().bits, per_word = 32 / bits;
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t word_row = 0; word_row < columns() / per_word; ++word_row)
      for (int64_t r = begin; r < end; ++r) {
        const uint32_t word = words[word_row * rows() + r];
        for (int i = 0; i < per_word; ++i)
          out[(r - begin) * columns() + position(word_row * per_word + i)] = uint8_t(word >> (i * bits) & mask);
      }
  }

  void read_awq(const uint32_t* words, int64_t begin, int64_t end, uint8_t* out) const {
    const int64_t per_row = rows() / 8;
    for (int64_t k = 0; k < columns(); ++k)
      for (int64_t c = begin / 8; c < ceil_divide(end, 8); ++c) {
        const uint32_t word = words[k * per_row + c];
        for (int i = 0; i < 8; ++i) {
          const int64_t r = 8 * c + kAwqOrder[size_t(i)];
          if (r >= begin && r < end) out[(r - begin) * columns() + k] = uint8_t(word >> (4 * i) & 15);
        }
      }
  }

  HeldWords words_;
  bool awq_;
};

// The zero points of GPTQ and AWQ: words along the outputs, [groups, out / (32 / bits)].
std::vector<uint16_t> read_zeros(const Layout& layout, const LocatedTensor& part, const QuantizationConfig& config) {
  const int per_word = 32 / layout.bits;
  const uint32_t mask = (1u << layout.bits) - 1;
  expect_type(layout, part, "I32");
  expect_shape(layout, part, {layout.groups, layout.rows / per_word});
  const std::vector<uint32_t> words = read_all<uint32_t>(part);
  std::vector<uint16_t> zeros(size_t(layout.rows * layout.groups));
  const bool awq = config.method == QuantizationMethod::kAwq;
  for (int64_t g = 0; g < layout.groups; ++g)
    for (int64_t r = 0; r < layout.rows; ++r) {
      const int64_t in_word = r % per_word;
      int64_t place = in_word;
      if (awq) place = std::find(kAwqOrder.begin(), kAwqOrder.end(), int(in_word)) - kAwqOrder.begin();
      uint32_t zero = words[size_t(g * (layout.rows / per_word) + r / per_word)] >> (place * layout.bits) & mask;
      if (config.zero_points_less_one) zero = (zero + 1) & mask;  // writers let the subtraction wrap
      zeros[size_t(r * layout.groups + g)] = uint16_t(zero);
    }
  return zeros;
}

// compressed-tensors: words along the outputs too, but packed down the rows ([out / 8, groups]), or signed bytes.
std::vector<uint16_t> read_signed_zeros(const Layout& layout, const LocatedTensor& part, bool words) {
  std::vector<uint16_t> zeros(size_t(layout.rows * layout.groups));
  const int middle = 1 << (layout.bits - 1);
  if (words && part.stored.type == "I32") {
    const int per_word = 32 / layout.bits;
    expect_shape(layout, part, {ceil_divide(layout.rows, per_word), layout.groups});
    const std::vector<uint32_t> stored = read_all<uint32_t>(part);
    for (int64_t r = 0; r < layout.rows; ++r)
      for (int64_t g = 0; g < layout.groups; ++g)
        zeros[size_t(r * layout.groups + g)] =
            uint16_t(stored[size_t(r / per_word * layout.groups + g)] >> (r % per_word * layout.bits) &
                     ((1u << layout.bits) - 1));
    return zeros;
  }
  expect_type(layout, part, "I8");
  const bool one = element_count(part.stored.shape) == 1;  // for the whole matrix
  if (!one && part.stored.shape.size() == 1 && layout.groups == 1)
    expect_shape(layout, part, {layout.rows});
  else if (!one)
    expect_shape(layout, part, {layout.rows, layout.groups});
  const std::vector<int8_t> stored = read_all<int8_t>(part);
  for (size_t i = 0; i < zeros.size(); ++i) zeros[i] = uint16_t(stored[one ? 0 : i] + middle);
  if (std::any_of(zeros.begin(), zeros.end(), [&](uint16_t z) { return z >= 2 * middle; }))
    refuse(layout.name, part, fmt::format("holds a zero point that {} bits cannot express", layout.bits));
  return zeros;
}

// The columns sorted by their groups; empty when they are sorted already, none when nothing says their groups.
std::optional<std::vector<int32_t>> find_order(const Layout& layout, const LocatedTensor* part) {
  if (part == nullptr) return std::nullopt;
  expect_type(layout, *part, "I32");
  expect_shape(layout, *part, {layout.columns});
  const std::vector<int32_t> groups = read_all<int32_t>(*part);
  // compressed-tensors' "none".
  if (std::all_of(groups.begin(), groups.end(), [](int32_t g) { return g == -1; })) return std::nullopt;
  std::vector<int64_t> count(size_t(layout.groups), 0);
  for (const int32_t group : groups) {
    if (group < 0 || group >= layout.groups)
      refuse(layout.name, *part, fmt::format("names group {} of {}", group, layout.groups));
    ++count[size_t(group)];
  }
  // Written without an order, some files leave it zero.
  if (layout.groups > 1 && count[0] == layout.columns) return std::nullopt;
  for (int64_t g = 0; g < layout.groups; ++g) {
    const int64_t expected = std::min(layout.group, layout.columns - g * layout.group);
    if (count[size_t(g)] != expected)
      refuse(layout.name, *part,
             fmt::format("gives group {} {} columns, but groups of {} are needed", g, count[size_t(g)], expected));
  }
  if (std::is_sorted(groups.begin(), groups.end())) return std::vector<int32_t>();
  std::vector<int32_t> order(groups.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return groups[size_t(a)] < groups[size_t(b)]; });
  return order;
}

// As find_order. `ordered`: the configuration says that the groups are the matrix's own (`setting`); where nothing
// names them they would be taken for consecutive ones, which makes wrong weights.
std::vector<int32_t> read_order(const Layout& layout, const QuantizedParts& parts, bool ordered, const char* part,
                                const char* setting) {
  std::optional<std::vector<int32_t>> order = find_order(layout, parts.groups);
  if (!order && ordered && layout.groups > 1)
    refuse(layout.name, *parts.integers,
           fmt::format("there is no order of columns ({}) beside it, or none is in it, though the configuration says "
                       "{}; is a file of the model missing?",
                       part, setting));
  return std::move(order).value_or(std::vector<int32_t>());
}

Layout columnwise_layout(const std::string& name, const QuantizationConfig& config, int64_t rows, int64_t columns) {
  Layout layout{name, rows, columns, config.bits, config.group, 1};
  if (layout.group == 0 || layout.group > columns) layout.group = columns;
  layout.groups = ceil_divide(columns, layout.group);
  return layout;
}

std::shared_ptr<const QuantizedRowSource> make_columnwise(Layout layout, const QuantizedParts& parts,
                                                          const QuantizationConfig& config) {
  const bool awq = config.method == QuantizationMethod::kAwq;
  const int per_word = 32 / layout.bits;
  const LocatedTensor& integers = *parts.integers;
  if ((awq ? layout.rows : layout.columns) % per_word != 0 || layout.rows % per_word != 0)
    refuse(layout.name, integers, fmt::format("{} x {} does not fill its words", layout.rows, layout.columns));
  expect_type(layout, integers, "I32");
  expect_shape(layout, integers,
               awq ? std::vector<int64_t>{layout.columns, layout.rows / per_word}
                   : std::vector<int64_t>{layout.columns / per_word, layout.rows});
  const LocatedTensor& scales = needed(layout, parts.scales, integers, "scales");
  expect_shape(layout, scales, {layout.groups, layout.rows});
  std::vector<uint16_t> zeros =
      read_zeros(layout, needed(layout, parts.zeros, integers, "zero points (qzeros)"), config);
  if (config.symmetric) {
    for (const uint16_t zero : zeros)
      if (zero != 1 << (layout.bits - 1))
        refuse(layout.name, *parts.zeros,
               fmt::format("holds the zero point {}, though the configuration says sym; where zero points are meant "
                           "say sym: false there, where they are one off, the other checkpoint_format (gptq, gptq_v2)",
                           zero));
    zeros.clear();
  }
  std::vector<int32_t> order =
      awq ? std::vector<int32_t>() : read_order(layout, parts, config.ordered, "g_idx", "desc_act: true");
  Scales read = read_scales(layout, scales, true);
  return std::make_shared<ColumnwiseRows>(std::move(layout), std::move(read), std::move(zeros), std::move(order),
                                          integers, awq);
}

bool is_words(const QuantizedParts& parts) { return parts.integers->stored.type == "I32"; }

// compressed-tensors may have other settings for every matrix: what they are, its tensors' shapes tell.
Layout rowwise_layout(const std::string& name, const QuantizedParts& parts, const QuantizationConfig& config,
                      int64_t rows, int64_t columns) {
  Layout layout{name, rows, columns, 8, 0, 1};
  const LocatedTensor& integers = *parts.integers;
  const LocatedTensor& scales = needed(layout, parts.scales, integers, "scales (weight_scale)");
  const bool words = is_words(parts);
  if (!words) expect_type(layout, integers, "I8");
  if (words && integers.stored.shape.size() == 2 && integers.stored.shape[1] == ceil_divide(columns, 8))
    layout.bits = 4;
  if (words && std::none_of(config.schemes.begin(), config.schemes.end(),
                            [&](const WeightScheme& scheme) { return scheme.bits == layout.bits; }))
    refuse(name, integers, fmt::format("has {} bits a weight, which the configuration does not", layout.bits));
  const std::vector<int64_t>& shape = scales.stored.shape;
  layout.groups = shape.size() == 2 ? shape[1] : 1;
  if (layout.groups < 1 || columns % layout.groups != 0 || (layout.groups > 1 && columns / layout.groups % 32 != 0))
    refuse(name, scales,
           fmt::format("{} groups of {} columns; groups of a multiple of 32 are supported", layout.groups, columns));
  layout.group = columns / layout.groups;
  return layout;
}

// What the configuration says of the matrix; none where its groups of matrices leave it open.
std::optional<bool> said_of(const Layout& layout, bool words, const QuantizationConfig& config,
                            bool WeightScheme::*what) {
  std::optional<bool> said;
  for (const WeightScheme& scheme : config.schemes) {
    const bool same_group = scheme.group == 0 ? layout.groups == 1 : scheme.group == layout.group;
    if (!same_group || (words && scheme.bits != layout.bits)) continue;
    if (said && *said != scheme.*what) return std::nullopt;
    said = scheme.*what;
  }
  return said;
}

// [rows, groups]; empty where all are in the middle, as if there were none.
std::vector<uint16_t> read_rowwise_zeros(const Layout& layout, const QuantizedParts& parts,
                                         const QuantizationConfig& config) {
  const std::optional<bool> symmetric = said_of(layout, is_words(parts), config, &WeightScheme::symmetric);
  if (parts.zeros == nullptr) {
    if (symmetric == false)
      refuse(layout.name, *parts.integers,
             "there are no zero points (weight_zero_point) beside it, though the configuration says symmetric: false; "
             "is a file of the model missing?");
    return {};
  }
  std::vector<uint16_t> zeros = read_signed_zeros(layout, *parts.zeros, is_words(parts));
  const uint16_t middle = uint16_t(1 << (layout.bits - 1));
  const auto other = std::find_if(zeros.begin(), zeros.end(), [&](uint16_t zero) { return zero != middle; });
  if (other == zeros.end()) return {};
  if (symmetric == true)
    refuse(layout.name, *parts.zeros,
           fmt::format("holds the zero point {}, though the configuration says that weights are symmetric around {}; "
                       "where the zero points are meant, say symmetric: false there",
                       *other, middle));
  return zeros;
}

std::shared_ptr<const QuantizedRowSource> make_rowwise(Layout layout, const QuantizedParts& parts,
                                                       const QuantizationConfig& config) {
  const LocatedTensor& integers = *parts.integers;
  const LocatedTensor& scales = *parts.scales;
  const std::vector<int64_t>& shape = scales.stored.shape;
  const bool whole = scales.stored.bytes > 0 && element_count(shape).value_or(0) == 1;
  if (!whole) {
    if (shape.size() == 1)
      expect_shape(layout, scales, {layout.rows});
    else
      expect_shape(layout, scales, {layout.rows, layout.groups});
  }
  const bool words = is_words(parts);
  expect_shape(layout, integers, {layout.rows, words ? ceil_divide(layout.columns * layout.bits, 32) : layout.columns});
  std::vector<uint16_t> zeros = read_rowwise_zeros(layout, parts, config);
  const bool ordered = said_of(layout, words, config, &WeightScheme::ordered).value_or(false);
  std::vector<int32_t> order = read_order(layout, parts, ordered, "weight_g_idx", "actorder: group");
  Scales read = read_scales(layout, scales, false);
  return std::make_shared<RowwiseRows>(std::move(layout), std::move(read), std::move(zeros), std::move(order), integers,
                                       words);
}

}  // namespace

std::vector<int64_t> packed_shape(const std::string& name, const QuantizedParts& parts,
                                  const QuantizationConfig& config) {
  const LocatedTensor& integers = *parts.integers;
  const std::vector<int64_t>& shape = integers.stored.shape;
  if (shape.size() != 2) return {};
  // 2^31 each way is more than any matrix has, and keeps every product inside 63 bits.
  for (const int64_t size : shape)
    if (size < 1 || size > INT32_MAX) return {};
  if (config.method == QuantizationMethod::kGptq) return {shape[1], shape[0] * (32 / config.bits)};
  if (config.method == QuantizationMethod::kAwq) return {shape[1] * 8, shape[0]};
  if (integers.stored.type != "I32") return shape;
  if (parts.shape == nullptr) refuse(name, integers, "there is no weight_shape beside it");
  const bool wide = parts.shape->stored.type == "I64";
  if (parts.shape->stored.shape != std::vector<int64_t>{2} || (!wide && parts.shape->stored.type != "I32"))
    refuse(name, *parts.shape, "two integers are needed");
  std::vector<int64_t> sizes;
  if (wide) {
    sizes = read_all<int64_t>(*parts.shape);
  } else {
    for (const int32_t size : read_all<int32_t>(*parts.shape)) sizes.push_back(size);
  }
  for (const int64_t size : sizes)
    if (size < 1 || size > INT32_MAX) refuse(name, *parts.shape, fmt::format("holds the size {}", size));
  return sizes;
}

std::shared_ptr<const QuantizedRowSource> make_packed_rows(const std::string& name, const QuantizedParts& parts,
                                                           const QuantizationConfig& config, int64_t rows,
                                                           int64_t columns) {
  const std::vector<int64_t> shape = packed_shape(name, parts, config);
  if (shape != std::vector<int64_t>{rows, columns})
    refuse(name, *parts.integers,
           fmt::format("holds a matrix of {}, but config.json calls for [{}, {}]", show_shape(shape), rows, columns));
  if (config.method == QuantizationMethod::kCompressedTensors)
    return make_rowwise(rowwise_layout(name, parts, config, rows, columns), parts, config);
  return make_columnwise(columnwise_layout(name, config, rows, columns), parts, config);
}

std::optional<QuantizedFormat> packed_format(const std::string& name, const QuantizedParts& parts,
                                             const QuantizationConfig& config) {
  const std::vector<int64_t> shape = packed_shape(name, parts, config);
  if (shape.empty() || parts.scales == nullptr) return std::nullopt;
  const DType scale_type = kept_scale_type(*parts.scales);
  if (config.method != QuantizationMethod::kCompressedTensors)
    return format_of(columnwise_layout(name, config, shape[0], shape[1]), scale_type, !config.symmetric);
  const Layout layout = rowwise_layout(name, parts, config, shape[0], shape[1]);
  return format_of(layout, scale_type, !read_rowwise_zeros(layout, parts, config).empty());
}

}  // namespace updraft::checkpoint
