// A machine that does what another does, until it is told to fail. For tests only.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "compute/machine.h"

namespace updraft::test {

struct FailureSwitch {
  std::string error;  // not empty: finish() fails with it
};

class FailingMachine final : public compute::Machine {
 public:
  FailingMachine(std::unique_ptr<compute::Machine> inner, std::shared_ptr<FailureSwitch> switches)
      : inner_(std::move(inner)), switches_(std::move(switches)) {}

  compute::MachineInfo info() const override { return inner_->info(); }
  compute::Weight pack(const compute::MatrixSource& source, compute::Packing packing) override {
    return inner_->pack(source, packing);
  }
  compute::Weight pack_vector(std::span<const float> values) override { return inner_->pack_vector(values); }
  compute::Rows allocate_rows(int64_t max_rows, int64_t columns) override {
    return inner_->allocate_rows(max_rows, columns);
  }
  compute::KvCachePtr allocate_kv(const compute::KvGeometry& geometry, int64_t pages) override {
    return inner_->allocate_kv(geometry, pages);
  }
  void run(compute::StepKey key, FunctionRef<void()> body) override { inner_->run(key, body); }
  compute::StepStatus finish() override {
    compute::StepStatus status = inner_->finish();
    if (!switches_->error.empty()) status = {false, switches_->error};
    return status;
  }
  void read_row(const compute::Rows& rows, int64_t row, std::span<float> out) const override {
    inner_->read_row(rows, row, out);
  }
  void write_row(const compute::Rows& rows, int64_t row, std::span<const float> in) override {
    inner_->write_row(rows, row, in);
  }
  void embed(const compute::StepInputs& in, const compute::Weight& table, const compute::Rows& x) override {
    inner_->embed(in, table, x);
  }
  void project_qkv(const compute::StepInputs& in, const compute::Rows& x, const compute::Norm& norm,
                   const compute::Weight& qkv, const compute::AttentionSpec& spec, const compute::RopeTables& ropes,
                   compute::KvLayer kv, const compute::Rows& q) override {
    inner_->project_qkv(in, x, norm, qkv, spec, ropes, kv, q);
  }
  void attend(const compute::StepInputs& in, const compute::Rows& q, const compute::AttentionSpec& spec,
              compute::KvLayer kv, const compute::Rows& out) override {
    inner_->attend(in, q, spec, kv, out);
  }
  void project_add(const compute::StepInputs& in, const compute::Rows& rows, const compute::Weight& weight,
                   const compute::Rows& x) override {
    inner_->project_add(in, rows, weight, x);
  }
  void gated_project(const compute::StepInputs& in, const compute::Rows& x, const compute::Norm& norm,
                     const compute::Weight& gate_up, const compute::Rows& hidden) override {
    inner_->gated_project(in, x, norm, gate_up, hidden);
  }
  void logits(const compute::StepInputs& in, const compute::Rows& x, const compute::Norm& norm,
              const compute::Weight& head, const compute::Rows& out) override {
    inner_->logits(in, x, norm, head, out);
  }
  void sample(const compute::StepInputs& in, const compute::Rows& logits, compute::Samples& out) override {
    inner_->sample(in, logits, out);
  }

 private:
  std::unique_ptr<compute::Machine> inner_;
  std::shared_ptr<FailureSwitch> switches_;
};

}  // namespace updraft::test
