// RoPE tables: properties that each kind states. That their values are the reference's is golden_test's business.
#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace updraft::model {
namespace {

using checkpoint::ModelConfig;
using checkpoint::RopeKind;

ModelConfig config_of(RopeKind kind) {
  ModelConfig config;
  config.head_dim = 64;
  config.max_context = 512;
  config.rope.kind = kind;
  config.rope.theta = 10000;
  config.rope.factor = 4;
  config.rope.original_context = 128;
  config.rope.short_factor.assign(32, 1.0);
  config.rope.long_factor.assign(32, 2.0);
  return config;
}

// The angle of pair i at position 1, up to the attention factor.
double angle(const compute::RopeTable& table, int64_t i) {
  const size_t at = size_t(table.pairs + i);
  return std::atan2(double(table.sin[at]), double(table.cos[at]));
}

double size(const compute::RopeTable& table) { return std::hypot(double(table.cos[0]), double(table.sin[0])); }

TEST(RopeTable, DefaultIsThetaToTheMinusTwoIOverD) {
  const ModelConfig config = config_of(RopeKind::kDefault);
  const auto table = make_rope_table(config, 10, 100);
  ASSERT_EQ(table->positions, 100);
  ASSERT_EQ(table->pairs, 32);
  for (int64_t p = 0; p < 100; ++p)
    for (int64_t i = 0; i < 32; ++i) {
      const double a = double(p) * std::pow(1e4, -double(2 * i) / 64);
      EXPECT_NEAR(table->cos[size_t(p * 32 + i)], std::cos(a), 1e-7 * double(p + 1));
      EXPECT_NEAR(table->sin[size_t(p * 32 + i)], std::sin(a), 1e-7 * double(p + 1));
    }
}

TEST(RopeTable, LinearAtFactorTimesAPositionIsDefaultAtThePosition) {
  const auto plain = make_rope_table(config_of(RopeKind::kDefault), 10, 50);
  const auto linear = make_rope_table(config_of(RopeKind::kLinear), 10, 200);
  for (int64_t p = 0; p < 50; ++p)
    for (int64_t i = 0; i < 32; ++i)
      EXPECT_NEAR(linear->cos[size_t(4 * p * 32 + i)], plain->cos[size_t(p * 32 + i)], 1e-6);
}

TEST(RopeTable, DynamicIsDefaultUpToTheModelsContextAndSlowerBeyond) {
  const ModelConfig config = config_of(RopeKind::kDynamic);
  const auto plain = make_rope_table(config_of(RopeKind::kDefault), 10, 4);
  EXPECT_EQ(make_rope_table(config, 512, 4)->cos, plain->cos);
  EXPECT_EQ(make_rope_table(config, 1, 4)->sin, plain->sin);
  const auto longer = make_rope_table(config, 1024, 4);
  for (int64_t i = 1; i < 32; ++i) EXPECT_LT(angle(*longer, i), angle(*plain, i));
  EXPECT_EQ(angle(*longer, 0), angle(*plain, 0));
}

TEST(RopeTable, YarnKeepsFastPairsAndDividesSlowOnes) {
  ModelConfig config = config_of(RopeKind::kYarn);
  const auto plain = make_rope_table(config_of(RopeKind::kDefault), 10, 4), yarn = make_rope_table(config, 10, 4);
  EXPECT_NEAR(angle(*yarn, 0), angle(*plain, 0), 1e-6);
  EXPECT_NEAR(angle(*yarn, 31) * 4, angle(*plain, 31), 1e-7);
  EXPECT_NEAR(size(*yarn), 0.1 * std::log(4.0) + 1, 1e-6);
  config.rope.mscale = 2;
  EXPECT_NEAR(size(*make_rope_table(config, 10, 4)), 0.1 * std::log(4.0) + 1, 1e-6)
      << "one of the pair alone says nothing";
  config.rope.mscale_all_dim = 0.5;
  EXPECT_NEAR(size(*make_rope_table(config, 10, 4)), (0.2 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1), 1e-6);
  config.rope.attention_factor = 1.25;
  EXPECT_NEAR(size(*make_rope_table(config, 10, 4)), 1.25, 1e-6);
  config.rope.truncate = false;
  int moved = 0;
  const auto exact_ends = make_rope_table(config, 10, 4);
  for (int64_t i = 0; i < 32; ++i) moved += angle(*exact_ends, i) != angle(*yarn, i) ? 1 : 0;
  EXPECT_GT(moved, 0);
}

TEST(RopeTable, Llama3KeepsShortWavelengthsAndDividesLongOnes) {
  ModelConfig config = config_of(RopeKind::kLlama3);
  const auto plain = make_rope_table(config_of(RopeKind::kDefault), 10, 4), scaled = make_rope_table(config, 10, 4);
  for (int64_t i = 0; i < 32; ++i) {
    const double wavelength = 6.283185307 / angle(*plain, i);
    if (wavelength < 128 / 4.0)
      EXPECT_NEAR(angle(*scaled, i), angle(*plain, i), 1e-7);
    else if (wavelength > 128)
      EXPECT_NEAR(angle(*scaled, i) * 4, angle(*plain, i), 1e-7);
    else
      EXPECT_LE(angle(*scaled, i), angle(*plain, i));
  }
  EXPECT_NEAR(size(*scaled), 1, 1e-6);
}

TEST(RopeTable, LongropeChangesListBeyondTheOriginalContext) {
  const ModelConfig config = config_of(RopeKind::kLongrope);
  const auto near = make_rope_table(config, 128, 4), far = make_rope_table(config, 129, 4);
  for (int64_t i = 0; i < 32; ++i) EXPECT_NEAR(angle(*far, i) * 2, angle(*near, i), 1e-6);
  EXPECT_NEAR(size(*near), std::sqrt(1 + std::log(4.0) / std::log(128.0)), 1e-6);
}

TEST(RopeTableKey, NamesEqualTablesEqually) {
  EXPECT_EQ(rope_table_key(config_of(RopeKind::kYarn), 10), rope_table_key(config_of(RopeKind::kYarn), 100000));
  const ModelConfig dynamic = config_of(RopeKind::kDynamic), longrope = config_of(RopeKind::kLongrope);
  EXPECT_EQ(rope_table_key(dynamic, 3), rope_table_key(dynamic, 512));
  EXPECT_NE(rope_table_key(dynamic, 512), rope_table_key(dynamic, 513));
  EXPECT_EQ(rope_table_key(longrope, 128), 0);
  EXPECT_EQ(rope_table_key(longrope, 129), 1);
}

}  // namespace
}  // namespace updraft::model
