#include "compute/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "compute/cpu/huge_memory.h"
#include "compute/cpu/kv_cache.h"
#include "compute/cpu/work_ranges.h"

namespace updraft::compute::cpu {
namespace {

constexpr int64_t kSplitPairs = 48;       // sequences with at most so many pairs have their pages split over threads
constexpr int64_t kSplitSequences = 256;  // so many are sure to find room for their partial states
constexpr int64_t kSplitGroup = 16;       // query heads per key/value head that the room is sized for

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What is to be done for one sequence of the step, as a range of items.
struct SequencePlan {
  int64_t item_begin = 0;  // items [item_begin, next plan's item_begin)
  int64_t row_begin = 0;
  int64_t rows = 0;
  int64_t first_position = 0;
  const int32_t* page_table = nullptr;
  int64_t blocks = 0;  // of pairs, when not split
  int64_t first_span = 0;
  int64_t spans = 0;       // when split; else 0
  int64_t item_spans = 1;  // spans of one item
  int64_t partials = 0;    // offset of its states, in floats
};

}  // namespace

struct AttentionScratch::Impl {
  explicit Impl(int count)
      : threads(count), ranges(count), per_thread(count * kAttendScratchFloats * int64_t(sizeof(float)), "attention") {}

  const int threads;
  WorkRanges ranges;
  HugeMemory per_thread;
  HugeMemory partials;
  std::vector<SequencePlan> plans;  // one more than there are sequences
};

AttentionScratch::AttentionScratch(int threads) : impl_(std::make_unique<Impl>(threads)) { reserve_rows(1); }
AttentionScratch::~AttentionScratch() = default;

void AttentionScratch::reserve(const KvGeometry& geometry, int64_t pages) {
  const int64_t record = kv_padded_dim(geometry.head_dim) + 16;
  const int64_t spans = ceil_div(pages, kSpanPages) + 2 * kSplitSequences;
  const int64_t bytes = geometry.key_value_heads * kSplitGroup * spans * record * int64_t(sizeof(float));
  if (bytes > impl_->partials.bytes()) impl_->partials = HugeMemory(bytes, "attention");
}

void AttentionScratch::reserve_rows(int64_t max_rows) {
  if (int64_t(impl_->plans.size()) < max_rows + 1) impl_->plans.resize(size_t(max_rows + 1));
}

namespace {

struct Step {
  const StepInputs& in;
  const AttentionSpec& spec;
  AttentionScratch::Impl& scratch;
  int64_t layer;
  AttendTask common;  // what all tasks share
  int64_t sequences = 0;
  int64_t block_pairs = 0;
  int64_t items = 0;
  int64_t merges = 0;  // pairs x heads whose spans are to be merged
};

int64_t first_page_seen(const AttentionSpec& spec, int64_t position) {
  return spec.window > 0 ? std::max<int64_t>(0, position - spec.window + 1) / kPageTokens : 0;
}

// Blocks small enough that every thread finds a few; tile shapes and blocks change no bit.
int64_t choose_block_pairs(int64_t pairs_of_all_heads, int threads) {
  constexpr int64_t kTwoTiles = 12;
  return std::clamp(ceil_div(pairs_of_all_heads, 4 * threads) / kTwoTiles * kTwoTiles, kTwoTiles, kBlockPairs);
}

// Spans that one item walks through: the longer, the seldomer a thread starts cold, yet every thread finds a few.
int64_t choose_item_spans(const StepInputs& in, int64_t heads, int threads) {
  int64_t tokens = 0;
  for (const StepInputs::Sequence& sequence : in.sequence)
    if (sequence.row_count > 0) tokens += in.positions[size_t(sequence.row_begin)];
  return std::clamp<int64_t>(tokens * heads / (kPageTokens * kSpanPages) / (16 * threads), 1, 8);
}

void plan(Step& step) {
  const StepInputs& in = step.in;
  const AttendTask& common = step.common;
  const int64_t heads = step.spec.key_value_heads, record = common.padded_dim + 16;
  step.block_pairs = choose_block_pairs(in.rows() * step.spec.query_heads, step.scratch.threads);
  const int64_t item_spans = choose_item_spans(in, heads, step.scratch.threads);
  int64_t used = 0;
  for (const StepInputs::Sequence& sequence : in.sequence) {
    if (sequence.row_count == 0) continue;
    CHECK(step.sequences + 1 < int64_t(step.scratch.plans.size())) << "reserve_rows() was told of fewer rows";
    SequencePlan& p = step.scratch.plans[size_t(step.sequences++)];
    p = {};
    p.item_begin = step.items;
    p.row_begin = sequence.row_begin;
    p.rows = sequence.row_count;
    p.first_position = in.positions[size_t(sequence.row_begin)];
    p.page_table = in.page_tables.data() + sequence.page_table_begin;
    const int64_t pairs = p.rows * common.group, last_position = p.first_position + p.rows - 1;
    CHECK(last_position / kPageTokens < sequence.page_count) << "position " << last_position << " has no page";
    p.first_span = first_page_seen(step.spec, p.first_position) / kSpanPages;
    const int64_t spans = last_position / kPageTokens / kSpanPages + 1 - p.first_span;
    const int64_t floats = heads * pairs * spans * record;
    if (spans > 1 && pairs <= kSplitPairs &&
        (used + floats) * int64_t(sizeof(float)) <= step.scratch.partials.bytes()) {
      p.spans = spans;
      p.partials = used;
      p.item_spans = item_spans;
      used += floats;
      step.items += heads * ceil_div(spans, item_spans);
      step.merges += heads * pairs;
    } else {
      p.blocks = ceil_div(pairs, step.block_pairs);
      step.items += heads * p.blocks;
    }
  }
  step.scratch.plans[size_t(step.sequences)].item_begin = step.items;
}

void run_item(const Kernels& kernels, const Step& step, int64_t item, int member) {
  const SequencePlan* plans = step.scratch.plans.data();
  const SequencePlan& p = *(std::upper_bound(plans, plans + step.sequences, item,
                                             [](int64_t i, const SequencePlan& plan) { return i < plan.item_begin; }) -
                            1);
  const int64_t heads = step.spec.key_value_heads, index = item - p.item_begin, items = ceil_div(p.spans, p.item_spans);
  // Split: all items of a head, then the next head, so that a thread reads on where its last item ended.
  const int64_t head = p.spans > 0 ? index / items : index % heads;
  const int64_t pairs = p.rows * step.common.group;
  AttendTask task = step.common;
  const int64_t offset = p.row_begin * task.row_stride + head * task.group * task.head_dim;
  task.q += offset;
  task.out += offset;
  task.keys = task.blocks->of_head(step.layer, head);
  task.first_position = p.first_position;
  task.page_table = p.page_table;
  if (p.spans > 0) {
    const int64_t span = index % items * p.item_spans;
    task.pair_end = pairs;
    task.page_begin = std::max((p.first_span + span) * kSpanPages, first_page_seen(step.spec, p.first_position));
    task.page_end =
        std::min((p.first_span + span + p.item_spans) * kSpanPages, (p.first_position + p.rows - 1) / kPageTokens + 1);
    const int64_t next_page = index % items + 1 < items ? task.page_end
                              : head + 1 < heads        ? first_page_seen(step.spec, p.first_position)
                                                        : -1;
    if (next_page >= 0) {
      const int64_t next_head = next_page == task.page_end ? head : head + 1;
      task.after = task.blocks->of_head(step.layer, next_head) + task.blocks->page_offset(task.page_table[next_page]);
    }
    task.partial_span_stride = task.padded_dim + 16;
    task.partial_pair_stride = p.spans * task.partial_span_stride;
    task.partials = step.scratch.partials.as<float>() + p.partials + head * pairs * task.partial_pair_stride +
                    span * task.partial_span_stride;
  } else {
    const int64_t block = p.blocks - 1 - index / heads;  // the last rows see most: they go first
    task.pair_begin = block * step.block_pairs;
    task.pair_end = std::min(task.pair_begin + step.block_pairs, pairs);
    task.page_begin = first_page_seen(step.spec, p.first_position + task.pair_begin / task.group);
    task.page_end = (p.first_position + (task.pair_end - 1) / task.group) / kPageTokens + 1;
  }
  kernels.attention.attend(task, step.scratch.per_thread.as<float>() + member * kAttendScratchFloats);
}

// Merges [begin, end) of the step's split (sequence, head, pair), counted over all sequences.
void run_merges(const Kernels& kernels, const Step& step, int64_t begin, int64_t end) {
  const AttendTask& common = step.common;
  const int64_t record = common.padded_dim + 16;
  int64_t counted = 0;
  for (int64_t s = 0; s < step.sequences && counted < end; ++s) {
    const SequencePlan& p = step.scratch.plans[size_t(s)];
    if (p.spans == 0) continue;
    const int64_t pairs = p.rows * common.group, count = pairs * step.spec.key_value_heads;
    for (int64_t i = std::max<int64_t>(begin - counted, 0); i < std::min(count, end - counted); ++i) {
      const int64_t head = i / pairs, pair = i % pairs;
      const int64_t row = p.row_begin + pair / common.group, query_head = head * common.group + pair % common.group;
      kernels.attention.merge_spans(step.scratch.partials.as<float>() + p.partials + i * p.spans * record, p.spans,
                                    record, common.head_dim,
                                    common.out + row * common.row_stride + query_head * common.head_dim);
    }
    counted += count;
  }
}

}  // namespace

void attend(const Kernels& kernels, ThreadTeam& team, AttentionScratch& scratch, const StepInputs& in, const float* q,
            const AttentionSpec& spec, KvLayer kv, float* out) {
  CHECK(spec.key_value_heads > 0 && spec.query_heads % spec.key_value_heads == 0) << spec.query_heads;
  CHECK(spec.head_dim == kv.cache->geometry.head_dim && spec.key_value_heads == kv.cache->geometry.key_value_heads);
  CHECK(team.size() <= scratch.impl().threads) << team.size();
  const KvBlocks& blocks = kv_blocks(*kv.cache);
  Step step{.in = in, .spec = spec, .scratch = scratch.impl(), .layer = kv.layer, .common = {}};
  step.common.q = q;
  step.common.out = out;
  step.common.row_stride = int64_t(spec.query_heads) * spec.head_dim;
  step.common.group = spec.query_heads / spec.key_value_heads;
  step.common.head_dim = spec.head_dim;
  step.common.padded_dim = blocks.padded_dim;
  step.common.scale = spec.scale;
  step.common.window = spec.window;
  step.common.dtype = kv.cache->geometry.dtype;
  step.common.blocks = &blocks;
  plan(step);
  step.scratch.ranges.reset(step.items, 1);
  team.share([&](int member) {
    while (const WorkRanges::Piece piece = step.scratch.ranges.claim(member))
      run_item(kernels, step, piece.begin, member);
  });
  if (step.merges > 0)
    team.parallel_for(step.merges, 8, [&](int64_t begin, int64_t end, int) { run_merges(kernels, step, begin, end); });
}

namespace {

constexpr int64_t kFinishRows = 16;  // rows of one item: neighbours share the cache lines of a page's K

struct Finish {
  const StepInputs& in;
  const AttentionSpec& spec;
  const HeadNorms& norms;
  const RopeTables& ropes;
  const float* qkv;
  float* q;
  const KvBlocks& blocks;
  KvType dtype;
  int64_t layer;
};

void finish_row(const Kernels& kernels, const Finish& step, int64_t row, int64_t head) {
  const AttentionSpec& spec = step.spec;
  const int64_t dim = spec.head_dim, group = spec.query_heads / spec.key_value_heads;
  const int64_t position = step.in.positions[size_t(row)];
  const StepInputs::Sequence& sequence = step.in.sequence[size_t(step.in.sequences[size_t(row)])];
  const RopeTable& table = *step.ropes.tables[size_t(step.in.rope_tables[size_t(row)])];
  CHECK(position < table.positions && table.pairs * 2 == dim) << "position " << position << " of " << table.positions;
  HeadRotation rotation{step.norms.query, step.norms.query_epsilon, table.cos.data() + position * table.pairs,
                        table.sin.data() + position * table.pairs, dim};
  const float* in_row = step.qkv + row * (spec.query_heads + 2 * spec.key_value_heads) * dim;
  float* out_row = step.q + row * spec.query_heads * dim;
  for (int64_t h = head * group; h < (head + 1) * group; ++h)
    kernels.attention.rotate_head(rotation, in_row + h * dim, out_row + h * dim);

  CHECK(position / kPageTokens < sequence.page_count) << "position " << position << " has no page";
  const int64_t page = step.in.page_tables[size_t(sequence.page_table_begin + position / kPageTokens)];
  CHECK(page >= 0) << "position " << position << " has no page";
  char* block = step.blocks.of_head(step.layer, head) + step.blocks.page_offset(page);
  float key[kMaxHeadDim];
  rotation.norm = step.norms.key;
  rotation.epsilon = step.norms.key_epsilon;
  kernels.attention.rotate_head(rotation, in_row + (spec.query_heads + head) * dim, key);
  kernels.attention.store_key(key, dim, step.dtype, block, position % kPageTokens);
  kernels.attention.store_value(in_row + (spec.query_heads + spec.key_value_heads + head) * dim, dim, step.dtype, block,
                                position % kPageTokens);
}

}  // namespace

void finish_qkv(const Kernels& kernels, ThreadTeam& team, const StepInputs& in, const float* qkv,
                const AttentionSpec& spec, const HeadNorms& norms, const RopeTables& ropes, KvLayer kv, float* q) {
  const Finish step{in, spec, norms, ropes, qkv, q, kv_blocks(*kv.cache), kv.cache->geometry.dtype, kv.layer};
  const int64_t rows = in.rows(), heads = spec.key_value_heads;
  // A few heads of one row take less time than waking the team.
  const int64_t grain = rows == 1 ? 8 : 1;
  team.parallel_for(ceil_div(rows, kFinishRows) * heads, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / heads * kFinishRows;
      for (int64_t row = first; row < std::min(first + kFinishRows, rows); ++row)
        finish_row(kernels, step, row, item % heads);
    }
  });
}

}  // namespace updraft::compute::cpu
