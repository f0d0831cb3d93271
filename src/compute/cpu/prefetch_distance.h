// How far ahead of a product weights that are read once, from memory, are asked for: into L1 a little, into L2 far. One
// distance is never enough: near requests come too late for memory, far ones would be evicted from L1. Measured with
// two threads of an Emerald Rapids class Xeon, GB/s where the plain read took 33, one row (int8 / int4) and eight
// (int8): near alone 30.8 / 27.6 and 24.9, far alone 30.5 / 29.5 and 26.8, both 31.9 / 31.5 and 29.5; F16, one row,
// four panels side by side: near alone 29.5, both 31.7. Bytes in all of a thread's streams together.
//
// That is of one place a thread, or a few. Sixteen places at once, a line or two of each in turn, the processor reads
// faster, by itself. Two threads of an Emerald Rapids class Xeon (with AMX, 2026-11-30; its memory changes within
// seconds between two speeds, so two medians): the plain loop 27.7 and 34.5 GB/s from one place, 30 and 43 from eight,
// 31.4 and 44 from sixteen. int8, one row (a trial, not in the repository): in order, near and far, 28.4 and 34;
// sixteen stripes 34.8 and 45, near 1 KiB in each stripe 35.5 and 41. Asking for sixteen places while one is read
// brought nothing (28.5). Few rows do need to be asked for: steps of 8 layers of the 7B shape with 1, 4, 8, 16 rows,
// ms: int8 in order 59, 61, 63, 81; stripes 52, 65, 67, 60; stripes and near 47, 48, 52, 58 (16 rows on tiles); int4
// 31, 35, 43, 76; 27, 40, 56, 89; 27, 30, 37, 70.
//
// A Zen 4 (EPYC 9004) fetches neighbouring lines ahead by itself, and requests only hold it up where a loop is as fast
// as that: one thread, GB/s with and without requests where the plain read took 30: int8 one row 24.5 and 30.7, four
// 21.7 and 25.3, eight 25.6 and 16.0; int4 one row 21.7 and 26.6, four 22.0 and 20.0; F16, panels side by side, one row
// 25.2 and 31.9, four 25.0 and 21.9.
#pragma once

#include <cstdint>

namespace updraft::compute::cpu {

constexpr int64_t kNearBytes = 2048;
constexpr int64_t kFarBytes = 16384;
constexpr int64_t kStripeNearBytes = 1024;  // in each stripe
// Models of smaller matrices lie in the last-level cache, where order is faster: SmolLM2-135M from its Q4_1 file, one
// row, three runs in turns: 362 to 381 tokens/s in order, 313 to 363 in stripes.
constexpr int64_t kStripedBytes = int64_t(2) << 20;
// Of a line of 64 bytes: as many as there are rows for int8 and F32, twice as many for int4, F16 and BF16.
constexpr int kProductsToAskAheadOnAmd = 6;

}  // namespace updraft::compute::cpu
