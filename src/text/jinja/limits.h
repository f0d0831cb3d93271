// The sandbox's limits. A template that goes over one ends with a TemplateError; nothing in a template can exhaust the
// stack, the memory or the time of its host.
#pragma once

#include <cstddef>
#include <cstdint>

namespace updraft::text::jinja {

constexpr int64_t kMaxSteps = 30'000'000;      // evaluated nodes, plus the weight of what filters and operators touch
constexpr int kMaxRuntimeDepth = 800;          // nested evaluations, macro calls included
constexpr int kMaxSyntaxDepth = 300;           // nested expressions and statements in the source
constexpr uint32_t kMaxValueDepth = 150;       // lists in lists
constexpr uint64_t kMaxWeight = 4'000'000;     // nodes of a value when written out; 16 bytes of text count as one
constexpr size_t kMaxStringBytes = 32u << 20;  // one string, and the whole output
constexpr int kMaxIntegerDigits = 4300;        // as Python writes and reads at most
constexpr int64_t kMaxRange = 100'000;         // as the sandbox of the reference

}  // namespace updraft::text::jinja
