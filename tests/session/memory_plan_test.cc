// The plan of a model's memory against the memory that loading it takes, for every kind of folder and every choice.
#include "session/memory_plan.h"

#include <gtest/gtest.h>

#include "checkpoint/quantize_folder.h"
#include "model/decoder_weights.h"
#include "tests/support/temporary_folder.h"

namespace updraft::session {
namespace {

// Biases, a row that ends in a short group, and no padding, which the plan does not count.
constexpr const char* kSpec =
    "qwen2-0.5b:hidden=128,intermediate=192,layers=2,vocabulary=96,heads=4,kv_heads=2,head_dim=32";

std::unique_ptr<checkpoint::Checkpoint> synthetic() { return make_synthetic(checkpoint::parse_synthetic(kSpec)); }

void expect_planned_as_loaded(const checkpoint::Checkpoint& stored, const char* choice) {
  SCOPED_TRACE(choice);
  const model::WeightChoice weights = *model::parse_weight_choice(choice);
  const auto machine = compute::make_machine("cpu", {});
  const model::DecoderWeights loaded = model::load_decoder_weights(stored, *machine, weights, {});
  const MemoryPlan plan = plan_memory(stored, weights, compute::KvType::kF16, 64);
  EXPECT_EQ(plan.weights_bytes, loaded.bytes()) << loaded.packing_names();
  EXPECT_EQ(plan.streamed_bytes, loaded.bytes_streamed_per_step()) << loaded.packing_names();
}

TEST(MemoryPlan, CountsWhatLoadingTakes) {
  for (const char* choice : {"auto", "f32", "f16", "bf16", "int8", "int8-g32", "int8-asym", "int4", "int4-g32-asym"})
    expect_planned_as_loaded(*synthetic(), choice);
}

TEST(MemoryPlan, CountsQuantizedFoldersAsTheIntegersTheyAre) {
  for (const auto& options : {checkpoint::QuantizeOptions{.bits = 4}, checkpoint::QuantizeOptions{.bits = 8},
                              checkpoint::QuantizeOptions{.bits = 4, .group = 32, .asymmetric = true},
                              checkpoint::QuantizeOptions{.bits = 8, .group = 0}}) {
    SCOPED_TRACE(testing::Message() << options.bits << " bits, groups of " << options.group);
    const auto source = synthetic();
    const test::TemporaryFolder place;
    const auto quantizer = checkpoint::make_nearest_quantizer(*source);
    quantize_folder(*source, place.path() / "out", options, *quantizer, {});
    const auto stored = checkpoint::open_checkpoint(place.path() / "out");
    for (const char* choice : {"auto", "bf16", "int8-g32"}) expect_planned_as_loaded(*stored, choice);
    EXPECT_LT(plan_memory(*stored, {}, compute::KvType::kF16, 64).weights_bytes,
              plan_memory(*source, {}, compute::KvType::kF16, 64).weights_bytes);
  }
}

}  // namespace
}  // namespace updraft::session
