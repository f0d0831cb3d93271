#include "base/thread_team.h"

#include <sched.h>

#include <atomic>
#include <cfenv>
#include <cmath>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/check.h"
#include "base/control_group.h"

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
  explicit Impl(int count) : size(count), active(uint32_t(count)) {}

  const int size;
  // A new value starts the next function: a counter above the number of members that take part.
  static constexpr uint32_t kMemberBits = 13, kMembers = (1u << kMemberBits) - 1;
  alignas(64) std::atomic<uint32_t> phase{0};
  alignas(64) std::atomic<uint32_t> active;  // members of the phases to come: the others sleep on it
  // The phase's counter above whether it is closed to members who come late, above the number of those inside.
  static constexpr uint32_t kClosed = 1u << kMemberBits;
  alignas(64) std::atomic<uint32_t> gate{kClosed};
  alignas(64) std::atomic<uint32_t> done{0};     // members that have done their part, where everyone has to
  const FunctionRef<void(int)>* body = nullptr;  // published by `gate`, as is the next
  bool everyone = false;
  std::atomic<bool> stopping{false};  // a member that is late may look at it at any time
  std::vector<std::thread> threads;

  void start_phase() {
    const uint32_t counter = (phase.load(std::memory_order_relaxed) >> kMemberBits) + 1;
    gate.store(counter << (kMemberBits + 1), std::memory_order_release);
    phase.store(counter << kMemberBits | active.load(std::memory_order_relaxed), std::memory_order_release);
    phase.notify_all();
  }

  // Into the phase that `seen` started, unless it is closed.
  bool enter(uint32_t seen) {
    const uint32_t open = seen >> kMemberBits << (kMemberBits + 1);  // with nobody inside
    uint32_t now = gate.load(std::memory_order_relaxed);
    while ((now & ~kMembers) == open)
      if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    return false;
  }

  void leave() {
    if (everyone) {
      done.fetch_add(1, std::memory_order_release);
      done.notify_one();
    }
    gate.fetch_sub(1, std::memory_order_release);
    gate.notify_one();
  }

  // Lets nobody in any more and waits for those inside.
  void close() {
    for (uint32_t now = gate.fetch_or(kClosed, std::memory_order_acquire) | kClosed; (now & kMembers) != 0;)
      now = wait_for_change(gate, now);
  }

  void member_loop(int member) {
    uint32_t seen = 0;
    for (;;) {
      seen = wait_for_change(phase, seen);
      if (stopping) return;
      if (uint32_t(member) >= (seen & kMembers)) {
        // Phases begin without it until it is wanted; it then waits for one that is not `seen`.
        for (uint32_t wanted = active.load(std::memory_order_acquire); uint32_t(member) >= wanted;
             wanted = active.load(std::memory_order_acquire))
          active.wait(wanted, std::memory_order_acquire);
        continue;
      }
      if (!enter(seen)) continue;
      {
        FloatingPointState plain;
        (*body)(member);
      }
      leave();
    }
  }

  void run_phase(const FunctionRef<void(int)>& function, bool with_everyone) {
    const uint32_t others = active.load(std::memory_order_relaxed) - 1;
    if (others > 0) {
      body = &function;
      everyone = with_everyone;
      if (everyone) done.store(0, std::memory_order_relaxed);
      start_phase();
    }
    {
      FloatingPointState plain;
      function(0);
    }
    if (others == 0) return;
    for (uint32_t now = done.load(std::memory_order_acquire); everyone && now != others;)
      now = wait_for_change(done, now);
    close();
  }
};

ThreadTeam::ThreadTeam(int threads) : impl_(std::make_unique<Impl>(threads)) {
  CHECK(threads >= 1 && threads < (1 << Impl::kMemberBits)) << threads;
  impl_->threads.reserve(size_t(threads - 1));
  for (int member = 1; member < threads; ++member)
    impl_->threads.emplace_back([impl = impl_.get(), member] { impl->member_loop(member); });
}

ThreadTeam::~ThreadTeam() {
  impl_->stopping = true;
  limit(impl_->size);  // wakes those who sleep
  impl_->start_phase();
  for (std::thread& thread : impl_->threads) thread.join();
}

int ThreadTeam::size() const { return impl_->size; }

int ThreadTeam::active() const { return int(impl_->active.load(std::memory_order_relaxed)); }

void ThreadTeam::limit(int members) {
  CHECK(members >= 1 && members <= impl_->size) << members;
  if (members == active()) return;
  impl_->active.store(uint32_t(members), std::memory_order_release);
  impl_->active.notify_all();
}

void ThreadTeam::run(FunctionRef<void(int)> body) { impl_->run_phase(body, true); }

void ThreadTeam::share(FunctionRef<void(int)> body) { impl_->run_phase(body, false); }

void ThreadTeam::parallel_for(int64_t items, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body) {
  CHECK(grain >= 1) << grain;
  if (items <= grain) {  // no need to wake the others
    if (items <= 0) return;
    FloatingPointState plain;
    return body(0, items, 0);
  }
  // On a cache line of its own: whoever counts takes the line from all others.
  struct alignas(64) Counter {
    std::atomic<int64_t> next{0};
  } counter;
  share([&](int member) {
    for (;;) {
      const int64_t begin = counter.next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= items) return;
      body(begin, begin + grain < items ? begin + grain : items, member);
    }
  });
}

int available_processors() {
  int count = int(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  if (const double quota = processor_quota(); quota > 0) count = std::min(count, int(std::ceil(quota)));
  return std::max(count, 1);
}

}  // namespace updraft
