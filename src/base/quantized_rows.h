// QuantizedRowSource: a matrix whose weights are small integers with a scale (and perhaps an offset) per group of
// consecutive columns of a row: GGUF's Q4_0, Q4_1 and Q8_0, GPTQ, AWQ, compressed-tensors, or any other source rounded
// on the fly by quantize(). Machines take the integers as they are; everybody else reads dequantized rows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/row_source.h"

namespace updraft {

// What a group's offset means. All values of a weight u with the group's scale s and offset o; every product and sum
// rounded to F32, which makes the first and the last exact:
//   kNone     w = s * (u - middle), middle = 8 or 128; no offset is stored
//   kMinimum  w = s * u + o
//   kPoint    w = s * (u - o), o an integer 0..256
enum class Offset : uint8_t { kNone, kMinimum, kPoint };

struct QuantizedFormat {
  int bits = 8;     // 4 or 8: u is 0..15 or 0..255
  int group = 128;  // columns that share a scale, 32 or 128; a row's last group may be shorter
  Offset offset = Offset::kNone;
  DType scale_type = DType::kF16;  // of scales and offsets: kF16 or kBF16

  int64_t groups(int64_t columns) const { return (columns + group - 1) / group; }
  int middle() const { return bits == 4 ? 8 : 128; }
  int largest() const { return bits == 4 ? 15 : 255; }
  double bits_per_weight() const { return bits + (offset == Offset::kNone ? 16.0 : 32.0) / group; }
  bool operator==(const QuantizedFormat&) const = default;
};

// "int8", "int4-g32", "int4-asym": what users give to --dtype; group 128 and no offset go without saying.
std::string name(const QuantizedFormat& format);

// A few rows in the making, each row's values consecutive.
struct QuantizedRows {
  uint8_t* integers = nullptr;  // [rows, columns], one a byte
  uint16_t* scales = nullptr;   // [rows, groups], bits of scale_type
  uint16_t* offsets = nullptr;  // [rows, groups], bits of scale_type; unused when the format has none
};

class QuantizedRowSource : public RowSource {  // dtype() is kF32
 public:
  const QuantizedFormat& format() const { return format_; }
  // Thread-safe, like read_rows. Throws Error when the file fails or holds an integer out of range.
  virtual void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const = 0;
  // Column k of these rows multiplies activation input_order()[k] (GPTQ's act-order, sorted by group while reading);
  // empty: column k multiplies activation k. read_rows() gives columns in the natural order again.
  virtual std::span<const int32_t> input_order() const { return {}; }
  // What is rounded while it is read, for a machine that rounds faster by itself, and then checks it (check_finite);
  // null: stored as integers.
  virtual const RowSource* unrounded() const { return nullptr; }

  void read_rows(int64_t begin, int64_t end, void* out) const final;

 protected:
  QuantizedRowSource(int64_t rows, int64_t columns, const QuantizedFormat& format, std::string name = {})
      : RowSource(rows, columns, DType::kF32, std::move(name)), format_(format) {}

 private:
  QuantizedFormat format_;
};

// One row to the nearest integers. kNone: s = max |w| / 127 (8 bits) or / 7.5 (4 bits), u in [1, 255] or [0, 15];
// otherwise s = (max - min) / largest with zero always inside [min, max]. s is rounded to scale_type first and u chosen
// for the rounded one. A group of zeros has s = 0 and u = middle (or o).
void quantize_row(const float* weights, int64_t columns, const QuantizedFormat& format, uint8_t* integers,
                  uint16_t* scales, uint16_t* offsets);

// Whether a row's scales and offsets are: they are not where its weights are not, or are too large.
bool are_finite(const QuantizedFormat& format, int64_t groups, const uint16_t* scales, const uint16_t* offsets);
// Throws Error when those of row `row` of such a matrix are not.
void check_finite(const QuantizedRowSource& matrix, int64_t row, const uint16_t* scales, const uint16_t* offsets);

// One row back: [columns] floats by the formulas above.
void dequantize_row(const uint8_t* integers, const uint16_t* scales, const uint16_t* offsets, int64_t columns,
                    const QuantizedFormat& format, float* out);

// The same values in a format that holds them exactly: more bits, smaller groups, offsets where there were none. Null
// where `format` cannot hold every row of such a source. A minimum in place of none is 128 scales at most: a scale too
// large for that is an Error while reading.
std::shared_ptr<const QuantizedRowSource> widen(std::shared_ptr<const QuantizedRowSource> source,
                                                const QuantizedFormat& format);

// Rounds any source while it is read; a value that is not finite, or beyond the scales' range, is an Error. The same
// rows give the same integers, whoever reads them in whatever pieces.
std::shared_ptr<const QuantizedRowSource> quantize(RowSourcePtr source, const QuantizedFormat& format);

}  // namespace updraft
