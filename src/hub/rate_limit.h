// RateLimit: one bucket of bytes per second for all connections of a run.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

namespace updraft::hub {

class RateLimit {
 public:
  RateLimit(int64_t bytes_per_s, const std::atomic<bool>* cancel) : rate_(bytes_per_s), cancel_(cancel) {}

  // Sleeps as long as the bytes just received are ahead of the rate; returns early when cancelled.
  void take(int64_t bytes) {
    if (rate_ <= 0) return;
    Clock::time_point due;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      // An idle second may be made up for, no more.
      next_ = std::max(next_, Clock::now() - std::chrono::seconds(1));
      next_ +=
          std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(double(bytes) / double(rate_)));
      due = next_;
    }
    while (Clock::now() < due && !(cancel_ && cancel_->load()))
      std::this_thread::sleep_until(std::min(due, Clock::now() + std::chrono::milliseconds(100)));
  }

 private:
  using Clock = std::chrono::steady_clock;
  const int64_t rate_;
  const std::atomic<bool>* cancel_;
  std::mutex mutex_;
  Clock::time_point next_ = Clock::now();
};

}  // namespace updraft::hub
