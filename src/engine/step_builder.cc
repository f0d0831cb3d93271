#include "engine/step_builder.h"

namespace updraft::engine {

StepBuilder::StepBuilder(compute::Machine& machine, const model::Decoder& decoder, model::Workspace& workspace,
                         const StepSizes& sizes)
    : machine_(machine), decoder_(decoder), workspace_(workspace) {
  inputs_.ids.reserve(size_t(sizes.rows));
  inputs_.positions.reserve(size_t(sizes.rows));
  inputs_.sequences.reserve(size_t(sizes.rows));
  inputs_.rope_tables.reserve(size_t(sizes.rows));
  inputs_.sequence.reserve(size_t(sizes.sequences));
  inputs_.page_tables.reserve(size_t(sizes.sequences * sizes.pages_per_sequence));
  inputs_.output_rows.reserve(size_t(sizes.output_rows));
  inputs_.rules.reserve(size_t(sizes.output_rows));
  samples_.reserve(size_t(sizes.output_rows));
}

void StepBuilder::clear() { inputs_.clear(); }

void StepBuilder::add_rows(std::span<const int32_t> ids, int64_t begin, int64_t count, std::span<const int32_t> pages,
                           int32_t rope_table) {
  compute::StepInputs::Sequence sequence;
  sequence.row_begin = int32_t(inputs_.rows());
  sequence.row_count = int32_t(count);
  sequence.page_table_begin = int32_t(inputs_.page_tables.size());
  sequence.page_count = int32_t(pages.size());
  const auto rows = ids.subspan(size_t(begin), size_t(count));
  inputs_.ids.insert(inputs_.ids.end(), rows.begin(), rows.end());
  for (int64_t i = 0; i < count; ++i) inputs_.positions.push_back(int32_t(begin + i));
  inputs_.sequences.insert(inputs_.sequences.end(), size_t(count), int32_t(inputs_.sequence.size()));
  inputs_.rope_tables.insert(inputs_.rope_tables.end(), size_t(count), rope_table);
  inputs_.page_tables.insert(inputs_.page_tables.end(), pages.begin(), pages.end());
  inputs_.sequence.push_back(sequence);
}

void StepBuilder::add_output_of_last_row(const compute::SampleRules& rules) {
  inputs_.output_rows.push_back(int32_t(inputs_.rows() - 1));
  inputs_.rules.push_back(rules);
}

void StepBuilder::add_proposed_row(int32_t id, const compute::SampleRules& rules) {
  ++inputs_.sequence.back().row_count;
  inputs_.ids.push_back(id);
  inputs_.positions.push_back(inputs_.positions.back() + 1);
  inputs_.sequences.push_back(inputs_.sequences.back());
  inputs_.rope_tables.push_back(inputs_.rope_tables.back());
  add_output_of_last_row(rules);
}

void StepBuilder::add_outputs_of_last_rows(int64_t count) {
  for (int64_t row = inputs_.rows() - count; row < inputs_.rows(); ++row) inputs_.output_rows.push_back(int32_t(row));
}

std::optional<compute::StepStatus> StepBuilder::run(const compute::RopeTables& tables, const model::StepWatch& watch) {
  samples_.resize(inputs_.rules.size());
  const compute::StepKey key{inputs_.rows(), int64_t(inputs_.output_rows.size()), bool(watch)};
  bool whole = true;
  machine_.run(key, [&] {
    whole = decoder_.forward(machine_, inputs_, tables, workspace_, watch);
    if (whole && !inputs_.rules.empty()) machine_.sample(inputs_, workspace_.logits, samples_);
  });
  const compute::StepStatus status = machine_.finish();
  return whole || !status.ok ? std::optional(status) : std::nullopt;
}

}  // namespace updraft::engine
