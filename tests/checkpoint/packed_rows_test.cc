// GPTQ, AWQ and compressed-tensors matrices, packed here by the rules of their writers from random integers, must come
// back as the same integers, scales and zero points; and whatever is wrong with a part ends in a sentence naming it.
#include "checkpoint/packed_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <numeric>

#include "base/half.h"
#include "tests/support/error_text.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

using Ints = std::vector<int64_t>;

// Tensors in memory.
class Store {
 public:
  template <class T>
  const LocatedTensor* add(const std::string& name, const std::string& type, Ints shape, const std::vector<T>& values) {
    std::vector<std::byte>& bytes = bytes_.emplace_back(values.size() * sizeof(T));
    if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    auto file = std::make_shared<MemoryAccess>(std::span<const std::byte>(bytes), "model.safetensors");
    tensors_.push_back({file, {.name = name, .type = type, .shape = std::move(shape), .bytes = int64_t(bytes.size())}});
    return &tensors_.back();
  }
  LocatedTensor& last() { return tensors_.back(); }

 private:
  std::deque<std::vector<std::byte>> bytes_;
  std::deque<LocatedTensor> tensors_;
};

// A random matrix: what every packing of it must give back.
struct Matrix {
  int64_t rows, columns, group, groups;
  int bits;
  Ints integers, zeros;  // [rows, columns], [rows, groups]
  std::vector<uint16_t> scales;
  std::vector<int32_t> group_of;  // of each column

  Matrix(test::Random& random, int its_bits, bool symmetric, bool shuffled, bool whole_row)
      : rows(8 * random.integer(1, 6)), group(32 * random.integer(1, 6)), bits(its_bits) {
    groups = whole_row ? 1 : random.integer(1, 4);
    columns = group * groups;
    for (int64_t i = 0; i < rows * columns; ++i) integers.push_back(random.integer(0, (1 << bits) - 1));
    for (int64_t i = 0; i < rows * groups; ++i) {
      zeros.push_back(symmetric ? 1 << (bits - 1) : random.integer(0, (1 << bits) - 1));
      scales.push_back(to_half(0.01f * float(random.real() + 0.01)).bits);
    }
    for (int64_t k = 0; k < columns; ++k) group_of.push_back(int32_t(k / group));
    if (shuffled)
      for (int64_t k = columns - 1; k > 0; --k) std::swap(group_of[size_t(k)], group_of[size_t(random.integer(0, k))]);
  }

  float value(int64_t r, int64_t k) const {
    const size_t g = size_t(r * groups + group_of[size_t(k)]);
    return to_float(half_t{scales[g]}) * float(integers[size_t(r * columns + k)] - zeros[g]);
  }
};

// values [n] to words of consecutive integers, lowest bits first.
std::vector<uint32_t> words(const Ints& values, int bits) {
  std::vector<uint32_t> packed((values.size() * size_t(bits) + 31) / 32, 0);
  for (size_t i = 0; i < values.size(); ++i)
    packed[i * size_t(bits) / 32] |= uint32_t(values[i]) << (i * size_t(bits) % 32);
  return packed;
}

template <class T>
std::vector<T> transposed(const std::vector<T>& values, int64_t rows, int64_t columns) {
  std::vector<T> result;
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r) result.push_back(values[size_t(r * columns + c)]);
  return result;
}

// Eight values in AWQ's order.
Ints awq_ordered(const Ints& values) {
  Ints result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    constexpr int order[] = {0, 2, 4, 6, 1, 3, 5, 7};
    result[i] = values[i / 8 * 8 + size_t(order[i % 8])];
  }
  return result;
}

QuantizedParts gptq_parts(Store& store, const Matrix& m, bool less_one, bool with_groups) {
  const int64_t per_word = 32 / m.bits;
  QuantizedParts parts;
  // Packed down the columns of [in, out]: words of one output, one output after another, then turned.
  const std::vector<uint32_t> by_output = words(m.integers, m.bits);
  parts.integers =
      store.add("qweight", "I32", {m.columns / per_word, m.rows}, transposed(by_output, m.rows, m.columns / per_word));
  Ints zeros = transposed(m.zeros, m.rows, m.groups);
  for (int64_t& z : zeros) z = (less_one ? z - 1 : z) & ((1 << m.bits) - 1);
  parts.zeros = store.add("qzeros", "I32", {m.groups, m.rows / per_word}, words(zeros, m.bits));
  parts.scales = store.add("scales", "F16", {m.groups, m.rows}, transposed(m.scales, m.rows, m.groups));
  if (with_groups) parts.groups = store.add("g_idx", "I32", {m.columns}, m.group_of);
  return parts;
}

QuantizedParts awq_parts(Store& store, const Matrix& m) {
  QuantizedParts parts;
  parts.integers = store.add("qweight", "I32", {m.columns, m.rows / 8},
                             words(awq_ordered(transposed(m.integers, m.rows, m.columns)), 4));
  parts.zeros =
      store.add("qzeros", "I32", {m.groups, m.rows / 8}, words(awq_ordered(transposed(m.zeros, m.rows, m.groups)), 4));
  parts.scales = store.add("scales", "F16", {m.groups, m.rows}, transposed(m.scales, m.rows, m.groups));
  return parts;
}

QuantizedParts compressed_parts(Store& store, const Matrix& m, bool symmetric) {
  QuantizedParts parts;
  parts.integers = store.add("weight_packed", "I32", {m.rows, m.columns * m.bits / 32}, words(m.integers, m.bits));
  parts.scales = store.add("weight_scale", "F16", {m.rows, m.groups}, m.scales);
  parts.shape = store.add("weight_shape", "I64", {2}, Ints{m.rows, m.columns});
  if (!symmetric)
    parts.zeros =
        store.add("weight_zero_point", "I32", {m.rows * m.bits / 32, m.groups},
                  transposed(words(transposed(m.zeros, m.rows, m.groups), m.bits), m.groups, m.rows * m.bits / 32));
  return parts;
}

QuantizedParts byte_parts(Store& store, const Matrix& m, bool symmetric) {
  std::vector<int8_t> integers, zeros;
  for (const int64_t u : m.integers) integers.push_back(int8_t(u - 128));
  for (const int64_t z : m.zeros) zeros.push_back(int8_t(z - 128));
  QuantizedParts parts;
  parts.integers = store.add("weight", "I8", {m.rows, m.columns}, integers);
  parts.scales = store.add("weight_scale", "F16", {m.rows, m.groups}, m.scales);
  if (!symmetric) parts.zeros = store.add("weight_zero_point", "I8", {m.rows, m.groups}, zeros);
  return parts;
}

struct Packed {
  Store store;
  QuantizedParts parts;
  QuantizationConfig config;
  Matrix matrix;
  bool symmetric;
};

std::unique_ptr<Packed> random_packed(test::Random& random) {
  const auto way = random.integer(0, 3);  // GPTQ, AWQ, words, bytes
  const int bits = way == 1 ? 4 : way == 3 ? 8 : random.chance(0.5) ? 4 : 8;
  const bool symmetric = way != 1 && random.chance(0.5), shuffled = way != 1 && random.chance(0.5);
  const bool less_one = random.chance(0.5), whole = !shuffled && random.chance(0.3);
  std::unique_ptr<Packed> p(new Packed{{}, {}, {}, Matrix(random, bits, symmetric, shuffled, whole), symmetric});
  const Matrix& m = p->matrix;
  p->config = {.method = way == 0   ? QuantizationMethod::kGptq
                         : way == 1 ? QuantizationMethod::kAwq
                                    : QuantizationMethod::kCompressedTensors,
               .bits = bits,
               .group = m.groups == 1 && random.chance(0.5) ? 0 : m.group,
               .symmetric = symmetric && way == 0,
               .zero_points_less_one = way == 0 && less_one,
               .schemes = {{bits, m.groups == 1 && random.chance(0.5) ? 0 : m.group, symmetric}}};
  p->parts = way == 0   ? gptq_parts(p->store, m, less_one, shuffled || random.chance(0.3))
             : way == 1 ? awq_parts(p->store, m)
             : way == 2 ? compressed_parts(p->store, m, symmetric)
                        : byte_parts(p->store, m, symmetric);
  if (way >= 2 && (shuffled || random.chance(0.2)))
    p->parts.groups = p->store.add("weight_g_idx", "I32", {m.columns},
                                   shuffled ? m.group_of : std::vector<int32_t>(size_t(m.columns), -1));
  return p;
}

TEST(PackedRows, EveryWayGivesTheIntegersBack) {
  test::Random random(1);
  for (int round = 0; round < 400; ++round) {
    const auto packed = random_packed(random);
    const Matrix& m = packed->matrix;
    EXPECT_EQ(packed_shape("w", packed->parts, packed->config), (Ints{m.rows, m.columns}));
    const auto source = make_packed_rows("w", packed->parts, packed->config, m.rows, m.columns);
    const QuantizedFormat& format = source->format();
    EXPECT_EQ(packed_format("w", packed->parts, packed->config), format);
    EXPECT_EQ(format.bits, m.bits);
    EXPECT_EQ(format.group, m.groups == 1 || m.group % 128 == 0 ? 128 : 32);
    EXPECT_EQ(format.offset == Offset::kNone, packed->symmetric) << "unless all happen to be in the middle";
    const int64_t begin = random.integer(0, m.rows - 1), end = random.integer(begin, m.rows);
    std::vector<float> got(static_cast<size_t>((end - begin) * m.columns));
    source->read_rows(begin, end, got.data());
    for (int64_t r = begin; r < end; ++r)
      for (int64_t k = 0; k < m.columns; ++k)
        ASSERT_EQ(got[size_t((r - begin) * m.columns + k)], m.value(r, k)) << r << ' ' << k;

    const int64_t groups = format.groups(m.columns);
    std::vector<uint8_t> integers(static_cast<size_t>(m.rows * m.columns));
    std::vector<uint16_t> scales(static_cast<size_t>(m.rows * groups)), offsets(scales);
    source->read_quantized(0, m.rows, {integers.data(), scales.data(), offsets.data()});
    const auto order = source->input_order();
    for (int64_t r = 0; r < m.rows; ++r)
      for (int64_t k = 0; k < m.columns; ++k) {
        const int64_t column = order.empty() ? k : order[size_t(k)];
        ASSERT_EQ(integers[size_t(r * m.columns + k)], m.integers[size_t(r * m.columns + column)]);
      }
  }
}

TEST(PackedRows, ScalesOfOtherTypes) {
  test::Random random(2);
  Store store;
  const Matrix m(random, 8, true, false, false);
  QuantizedParts parts = byte_parts(store, m, true);
  const QuantizationConfig config{.schemes = {{.bits = 8}}};
  std::vector<float> wide;
  std::vector<uint16_t> brain;
  for (const uint16_t s : m.scales) {
    wide.push_back(to_float(half_t{s}) * 1.00001f);  // rounds back
    brain.push_back(to_bfloat16(to_float(half_t{s})).bits);
  }
  std::vector<float> got(static_cast<size_t>(m.columns));
  parts.scales = store.add("weight_scale", "F32", {m.rows, m.groups}, wide);
  make_packed_rows("w", parts, config, m.rows, m.columns)->read_rows(0, 1, got.data());
  for (int64_t k = 0; k < m.columns; ++k) ASSERT_EQ(got[size_t(k)], m.value(0, k));
  parts.scales = store.add("weight_scale", "BF16", {m.rows, m.groups}, brain);
  const auto source = make_packed_rows("w", parts, config, m.rows, m.columns);
  EXPECT_EQ(source->format().scale_type, DType::kBF16);
  source->read_rows(0, 1, got.data());
  for (int64_t k = 0; k < m.columns; ++k)
    ASSERT_EQ(got[size_t(k)], to_float(bfloat16_t{brain[size_t(k / m.group)]}) * float(m.integers[size_t(k)] - 128));
  parts.scales = store.add("weight_scale", "F32", {1}, std::vector<float>{0.5f});
  make_packed_rows("w", parts, config, m.rows, m.columns)->read_rows(0, 1, got.data());
  EXPECT_EQ(got[5], 0.5f * float(m.integers[5] - 128));
  parts.scales = store.add("weight_scale", "F32", {1}, std::vector<float>{1e6f});
  EXPECT_NE(test::error_text([&] { make_packed_rows("w", parts, config, m.rows, m.columns); }).find("16 bits"),
            std::string::npos);
}

// One random thing wrong with one part.
std::string damage(Packed& p, test::Random& random) {
  std::vector<const LocatedTensor**> there;
  for (const LocatedTensor** part :
       {&p.parts.integers, &p.parts.scales, &p.parts.zeros, &p.parts.groups, &p.parts.shape})
    if (*part != nullptr) there.push_back(part);
  const LocatedTensor*& part = *there[size_t(random.integer(0, int64_t(there.size()) - 1))];
  auto* tensor = const_cast<LocatedTensor*>(part);
  const std::string name = tensor->stored.name;
  switch (random.integer(0, 3)) {
    case 0:
      tensor->stored.shape.push_back(1);
      return name;
    case 1:
      tensor->stored.shape[0] += random.chance(0.5) ? 1 : -1;
      return name;
    case 2:
      tensor->stored.type = "F64";
      return name;
    default:
      if (&part == &p.parts.integers || &part == &p.parts.groups) return "";  // may be left out or must not be
      part = nullptr;
      return "missing";
  }
}

TEST(PackedRows, WhatIsWrongIsNamed) {
  test::Random random(3);
  for (int round = 0; round < 1000; ++round) {
    const auto packed = random_packed(random);
    const Matrix& m = packed->matrix;
    const std::string part = damage(*packed, random);
    if (part.empty()) continue;
    const std::string text = test::error_text(
        [&] { make_packed_rows("mlp.up_proj.weight", packed->parts, packed->config, m.rows, m.columns); });
    if (part == "missing" && text.empty()) continue;  // weight_shape may be left out
    EXPECT_NE(text.find("mlp.up_proj.weight"), std::string::npos) << part << ": " << text;
    EXPECT_NE(text.find("model.safetensors"), std::string::npos) << text;
  }
}

TEST(PackedRows, ZeroPointsAreThereWhereTheConfigurationSaysSo) {
  test::Random random(5);
  for (int round = 0; round < 100; ++round) {
    Store store;
    const bool bytes = random.chance(0.5);
    const Matrix m(random, bytes ? 8 : 4, false, false, false);
    QuantizedParts parts = bytes ? byte_parts(store, m, false) : compressed_parts(store, m, false);
    const auto error_with = [&](const std::vector<WeightScheme>& schemes) {
      const QuantizationConfig config{.schemes = schemes};
      return test::error_text([&] { make_packed_rows("w", parts, config, m.rows, m.columns); });
    };
    const WeightScheme asymmetric{m.bits, m.group, false}, symmetric{m.bits, m.group, true};
    const WeightScheme elsewhere{m.bits, m.group + 32, true};  // of other matrices
    EXPECT_EQ(error_with({asymmetric, elsewhere}), "");
    EXPECT_EQ(error_with({asymmetric, symmetric}), "");  // which of the two it is, only the tensors tell
    const std::string unexpected = error_with({symmetric});
    EXPECT_NE(unexpected.find("weight_zero_point"), std::string::npos) << unexpected;
    EXPECT_NE(unexpected.find("symmetric: false"), std::string::npos) << unexpected;
    parts.zeros = nullptr;
    const std::string missing = error_with({asymmetric, elsewhere});
    EXPECT_NE(missing.find("model.safetensors"), std::string::npos) << missing;
    EXPECT_NE(missing.find("no zero points (weight_zero_point)"), std::string::npos) << missing;
    EXPECT_NE(test::error_text([&] { packed_format("w", parts, {.schemes = {asymmetric}}); }), "");
    EXPECT_EQ(error_with({symmetric}), "");
    // Zero points in the middle, as some writers store them for symmetric weights.
    std::vector<int8_t> middle(static_cast<size_t>(m.rows * m.groups), 0);
    parts.zeros = store.add("weight_zero_point", "I8", {m.rows, m.groups}, middle);
    EXPECT_EQ(error_with({symmetric}), "");
  }
}

TEST(PackedRows, GroupsThatCannotBeAreRefused) {
  test::Random random(4);
  Store store;
  Matrix m(random, 4, false, true, false);
  while (m.groups < 2) m = Matrix(random, 4, false, true, false);
  const QuantizationConfig config{.method = QuantizationMethod::kGptq, .bits = 4, .group = m.group};
  for (const int32_t wrong : {-1, int32_t(m.groups), 1 << 30, INT32_MIN, m.group_of[0] == 0 ? 1 : 0}) {
    Matrix bad = m;
    bad.group_of[0] = wrong;
    const QuantizedParts parts = gptq_parts(store, bad, false, true);
    EXPECT_NE(test::error_text([&] { make_packed_rows("w", parts, config, m.rows, m.columns); }).find("g_idx"),
              std::string::npos)
        << wrong;
  }
  Matrix zero = m;  // as some writers leave it without an order
  for (int64_t k = 0; k < m.columns; ++k) zero.group_of[size_t(k)] = 0;
  const auto source = make_packed_rows("w", gptq_parts(store, zero, false, true), config, m.rows, m.columns);
  EXPECT_TRUE(source->input_order().empty());
}

// Wrong weights otherwise: columns would be taken with their neighbours' scales.
TEST(PackedRows, AnOrderOfColumnsIsThereWhereTheConfigurationSaysSo) {
  test::Random random(6);
  Store store;
  Matrix m(random, 4, true, true, false);
  while (m.groups < 2) m = Matrix(random, 4, true, true, false);
  const auto error_of = [&](const QuantizedParts& parts, const QuantizationConfig& config) {
    return test::error_text([&] { make_packed_rows("w", parts, config, m.rows, m.columns); });
  };
  QuantizationConfig gptq{.method = QuantizationMethod::kGptq, .bits = 4, .group = m.group, .ordered = true};
  Matrix zero = m;
  zero.group_of.assign(size_t(m.columns), 0);
  EXPECT_EQ(error_of(gptq_parts(store, m, false, true), gptq), "");
  for (const QuantizedParts& parts : {gptq_parts(store, m, false, false), gptq_parts(store, zero, false, true)}) {
    const std::string error = error_of(parts, gptq);
    EXPECT_NE(error.find("(g_idx)"), std::string::npos) << error;
    EXPECT_NE(error.find("desc_act: true"), std::string::npos) << error;
  }
  gptq.ordered = false;
  EXPECT_EQ(error_of(gptq_parts(store, m, false, false), gptq), "");

  QuantizationConfig compressed{.schemes = {{m.bits, m.group, true, true}}};
  QuantizedParts parts = compressed_parts(store, m, true);
  EXPECT_NE(error_of(parts, compressed).find("actorder: group"), std::string::npos);
  parts.groups = store.add("weight_g_idx", "I32", {m.columns}, std::vector<int32_t>(size_t(m.columns), -1));
  EXPECT_NE(error_of(parts, compressed).find("weight_g_idx"), std::string::npos);
  parts.groups = store.add("weight_g_idx", "I32", {m.columns}, m.group_of);
  EXPECT_EQ(error_of(parts, compressed), "");
  parts.groups = nullptr;
  compressed.schemes[0].ordered = false;
  EXPECT_EQ(error_of(parts, compressed), "");
}

TEST(QuantizationConfig, RefusesByName) {
  using nlohmann::json;
  const auto refusal = [](const json& object) {
    return test::error_text([&] { parse_quantization_config(object, "config.json: quantization_config"); });
  };
  const json gptq = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}, {"desc_act", true}, {"sym", false}};
  const json awq = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}, {"version", "GEMM"}};
  const json weights = {{"num_bits", 4}, {"type", "int"}, {"strategy", "group"}, {"group_size", 32}};
  const json compressed = {{"quant_method", "compressed-tensors"},
                           {"format", "pack-quantized"},
                           {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}}};
  for (const json& good : {gptq, awq, compressed}) EXPECT_EQ(refusal(good), "");
  const auto changed = [](json object, const char* pointer, const json& value) {
    object[json::json_pointer(pointer)] = value;
    return object;
  };
  const std::string group = "/config_groups/group_0";
  const std::string actorder = group + "/weights/actorder";
  // What writers leave, or say of what the tensors tell.
  EXPECT_EQ(refusal(changed(awq, "/zero_point", false)), "");
  EXPECT_EQ(refusal(changed(compressed, "/quantization_status", "frozen")), "");
  EXPECT_EQ(refusal(changed(gptq, "/dynamic", {{"-:.*lm_head.*", json::object()}})), "");
  const auto parsed = [](const json& object) { return parse_quantization_config(object, "config.json"); };
  EXPECT_TRUE(parsed(gptq).ordered);
  EXPECT_FALSE(parsed(changed(gptq, "/desc_act", false)).ordered);
  EXPECT_FALSE(parsed(compressed).schemes.at(0).ordered);
  for (const json& order : {json(true), json("group"), json("weight"), json(nullptr)})
    EXPECT_EQ(parsed(changed(compressed, actorder.c_str(), order)).schemes.at(0).ordered,
              order == true || order == "group");
  const std::vector<std::pair<json, const char*>> bad = {
      {changed(gptq, "/bits", 3), "bits is 3"},
      {changed(gptq, "/bits", nullptr), "bits is null"},
      {changed(gptq, "/group_size", 20), "group_size is 20"},
      {changed(gptq, "/checkpoint_format", "marlin"), "checkpoint_format"},
      {changed(gptq, "/dynamic", {{"x", {{"bits", 8}}}}), "dynamic"},
      {changed(gptq, "/dynamic", {{"-:x", json::object()}, {"+:y", {{"bits", 8}}}}), "dynamic"},
      {changed(compressed, "/quantization_status", "initialized"), "quantization_status"},
      {changed(gptq, "/sym", "yes"), "sym"},
      {changed(awq, "/version", "gemv"), "version"},
      {changed(awq, "/bits", 8), "bits is 8"},
      {changed(compressed, "/format", "float-quantized"), "format"},
      {changed(compressed, "/kv_cache_scheme", {{"num_bits", 8}}), "kv_cache_scheme"},
      {changed(compressed, "/config_groups", json::object()), "config_groups"},
      {changed(compressed, (group + "/weights/num_bits").c_str(), 2), "num_bits is 2"},
      {changed(compressed, (group + "/weights/type").c_str(), "float"), "type"},
      {changed(compressed, (group + "/weights/strategy").c_str(), "block"), "strategy"},
      {changed(compressed, (group + "/weights").c_str(), nullptr), "weights"},
      {changed(compressed, (group + "/input_activations").c_str(), {{"dynamic", false}}), "input_activations"},
      {{{"quant_method", "fp8"}}, "quant_method"},
      {json::array(), "object"}};
  for (const auto& [object, words_of_it] : bad)
    EXPECT_NE(refusal(object).find(words_of_it), std::string::npos) << object << '\n' << refusal(object);
}

}  // namespace
}  // namespace updraft::checkpoint
