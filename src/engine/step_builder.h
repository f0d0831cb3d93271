// StepBuilder: one step as the machine reads it. It appends a sequence's rows to StepInputs, then runs the decoder's
// verbs over them and waits. Its arrays are reserved once, so that a step does not allocate.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "compute/machine.h"
#include "model/decoder.h"

namespace updraft::engine {

struct StepSizes {
  int64_t rows = 0, output_rows = 0, sequences = 0, pages_per_sequence = 0;
};

class StepBuilder {
 public:
  StepBuilder(compute::Machine&, const model::Decoder&, model::Workspace&, const StepSizes&);

  void clear();
  // Rows of ids [begin, begin + count) of a sequence with these pages.
  void add_rows(std::span<const int32_t> ids, int64_t begin, int64_t count, std::span<const int32_t> pages,
                int32_t rope_table);
  void add_output_of_last_row(const compute::SampleRules&);  // chooses the token after it
  // One more row of the sequence whose rows came last, for an id after its others, and the choice of the token after
  // it.
  void add_proposed_row(int32_t id, const compute::SampleRules&);
  void add_outputs_of_last_rows(int64_t count);  // their logits only
  bool empty() const { return inputs_.ids.empty(); }
  int64_t rows() const { return inputs_.rows(); }

  // Runs the step and waits; afterwards samples() and the workspace's logits are readable. Nothing: `watch` ended it.
  std::optional<compute::StepStatus> run(const compute::RopeTables&, const model::StepWatch& watch = {});
  const compute::Samples& samples() const { return samples_; }

 private:
  compute::Machine& machine_;
  const model::Decoder& decoder_;
  model::Workspace& workspace_;
  compute::StepInputs inputs_;
  compute::Samples samples_;
};

}  // namespace updraft::engine
