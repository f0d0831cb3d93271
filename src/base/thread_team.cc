#include "base/thread_team.h"

#include <sched.h>

#include <atomic>
#include <cfenv>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/check.h"

namespace updraft {
namespace {

// Round to nearest, denormals kept, for as long as it lives.
class FloatingPointState {
 public:
#if defined(__x86_64__)
  FloatingPointState() : saved_(_mm_getcsr()) { _mm_setcsr((saved_ & ~(0x6000u | 0x8000u | 0x0040u)) | 0x1f80u); }
  ~FloatingPointState() { _mm_setcsr((saved_ & ~0x3fu) | (_mm_getcsr() & 0x3fu)); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FloatingPointState() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    const uint64_t plain = saved_ & ~((uint64_t(3) << 22) | (uint64_t(1) << 24) | (uint64_t(1) << 19));
    asm volatile("msr fpcr, %0" ::"r"(plain));
  }
  ~FloatingPointState() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  uint64_t saved_;
#endif
};

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int kSpins = 4000;  // tens of microseconds: longer than the gap between two verbs, shorter than a time slice

// Waits until `word` differs from `old`; returns the new value.
uint32_t wait_for_change(const std::atomic<uint32_t>& word, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = word.load(std::memory_order_acquire);
    if (now != old) return now;
    relax();
  }
  for (;;) {
    word.wait(old, std::memory_order_acquire);
    const uint32_t now = word.load(std::memory_order_acquire);
    if (now != old) return now;
  }
}

}  // namespace

struct ThreadTeam::Impl {
  explicit Impl(int count) : size(count) {}

  const int size;
  alignas(64) std::atomic<uint32_t> phase{0};     // a new value starts the next function
  alignas(64) std::atomic<uint32_t> finished{0};  // counts members other than 0, over all phases
  const FunctionRef<void(int)>* body = nullptr;   // published by `phase`
  bool stopping = false;                          // published by `phase`
  std::vector<std::thread> threads;

  void member_loop(int member) {
    uint32_t seen = 0;
    for (;;) {
      seen = wait_for_change(phase, seen);
      if (stopping) return;
      {
        FloatingPointState plain;
        (*body)(member);
      }
      finished.fetch_add(1, std::memory_order_release);
      finished.notify_one();
    }
  }
};

ThreadTeam::ThreadTeam(int threads) : impl_(std::make_unique<Impl>(threads)) {
  CHECK(threads >= 1) << threads;
  impl_->threads.reserve(size_t(threads - 1));
  for (int member = 1; member < threads; ++member)
    impl_->threads.emplace_back([impl = impl_.get(), member] { impl->member_loop(member); });
}

ThreadTeam::~ThreadTeam() {
  impl_->stopping = true;
  impl_->phase.fetch_add(1, std::memory_order_release);
  impl_->phase.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
}

int ThreadTeam::size() const { return impl_->size; }

void ThreadTeam::run(FunctionRef<void(int)> body) {
  Impl& team = *impl_;
  if (team.size > 1) {
    team.body = &body;
    team.phase.fetch_add(1, std::memory_order_release);
    team.phase.notify_all();
  }
  {
    FloatingPointState plain;
    body(0);
  }
  if (team.size > 1) {
    const uint32_t expected = team.phase.load(std::memory_order_relaxed) * uint32_t(team.size - 1);
    for (uint32_t now = team.finished.load(std::memory_order_acquire); now != expected;)
      now = wait_for_change(team.finished, now);
  }
}

void ThreadTeam::parallel_for(int64_t items, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body) {
  CHECK(grain >= 1) << grain;
  if (items <= grain) {  // no need to wake the others
    if (items <= 0) return;
    FloatingPointState plain;
    return body(0, items, 0);
  }
  std::atomic<int64_t> next{0};
  run([&](int member) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= items) return;
      body(begin, begin + grain < items ? begin + grain : items, member);
    }
  });
}

int available_processors() {
  int count = int(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  // cgroup v2, then v1
  double quota = 0, period = 0;
  std::string word;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> word >> period && word != "max")
    quota = std::atof(word.c_str());
  if (quota <= 0) {
    std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(q >> quota && p >> period)) quota = 0;
  }
  if (quota > 0 && period > 0) count = std::min(count, int(std::ceil(quota / period)));
  return std::max(count, 1);
}

}  // namespace updraft
