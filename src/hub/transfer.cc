#include "hub/transfer.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <thread>
#include <utility>

#include "hub/blame.h"
#include "hub/digest.h"
#include "hub/fetch.h"
#include "hub/rate_limit.h"
#include "hub/schedule.h"

namespace updraft::hub {
namespace {

constexpr int64_t kRealProgress = 64 << 10;  // fewer bytes than this do not excuse a failure
constexpr int kMostChanges = 3;              // a file that changes on the server under our hands
constexpr int kMostRounds = 8;               // whole attempts at one file
constexpr int kMostStrikes = 3;              // nonsense about a file that is there in parts

// What a source without ranges gave before it was cut is no progress: the next try starts over.
bool keeps(const Work& work, const FetchOutcome& outcome) { return !work.whole || !outcome.failure; }

class Transfer {
 public:
  Transfer(const TransferPlan& plan, const TransferSettings& settings)
      : plan_(plan),
        settings_(settings),
        http_(settings.http),
        pool_(plan.sources, settings.patience),
        rate_(settings.max_bytes_per_s, &abort_) {
    http_.cancel = &abort_;
    progress_.files = int(plan.tasks.size());
    for (const FileTask& task : plan.tasks) progress_.total += std::max<int64_t>(0, task.file.size);
  }
  TransferResult run();

 private:
  bool cancelled() const { return settings_.http.cancel && settings_.http.cancel->load(); }
  void tell(const std::string& sentence);
  void stop(std::exception_ptr);
  void guarded(void (Transfer::*loop)());

  // Drivers: one per file under way.
  void drive();
  void drive_file(const FileTask&);
  bool already_there(const FileTask&);
  std::string hash_as_it_comes(Job&);
  void wrong_hash(Job&, const std::string& hash);
  void right_hash(Job&);
  void adopt(Job&, const std::string& hash);
  void close(Job&);

  // Workers: one per connection.
  void work();
  void fetch(HttpClient&, const Work&);
  void settle(const Work&, const FetchOutcome&, int64_t begin, Clock::time_point started);
  void settle_failure(const Work&, const FetchOutcome&, Clock::time_point started);
  void ask_listing(HttpClient&, int source);

  void flush_now_and_then();
  void report();

  const TransferPlan& plan_;
  const TransferSettings& settings_;
  std::atomic<bool> abort_{false};  // the user's wish or a failure: ends every connection
  HttpSettings http_;
  std::mutex mutex_;
  std::condition_variable changed_;
  SourcePool pool_;
  RateLimit rate_;
  std::vector<Job*> jobs_;
  size_t next_task_ = 0;
  int drivers_ = 0;
  bool stopped_ = false;
  std::exception_ptr failure_;
  PullProgress progress_;  // done: of files that are finished
  std::deque<std::string> sentences_;
};

void Transfer::tell(const std::string& sentence) {
  if (!sentence.empty()) sentences_.push_back(sentence);
}

void Transfer::stop(std::exception_ptr failure) {
  const std::lock_guard<std::mutex> guard(mutex_);
  if (!failure_) failure_ = std::move(failure);
  stopped_ = true;
  abort_ = true;
  changed_.notify_all();
}

void Transfer::guarded(void (Transfer::*loop)()) {
  try {
    (this->*loop)();
  } catch (...) {
    stop(std::current_exception());
  }
}

TransferResult Transfer::run() {
  std::vector<std::thread> threads;
  // A copy: drivers count themselves out while others are still being started.
  const int drivers = drivers_ = std::max(1, std::min(settings_.files_in_parallel, int(plan_.tasks.size())));
  threads.reserve(size_t(drivers));
  for (int i = 0; i < drivers; ++i)
    threads.emplace_back([this] {
      guarded(&Transfer::drive);
      const std::lock_guard<std::mutex> guard(mutex_);
      --drivers_;
      changed_.notify_all();
    });
  for (int i = 0; i < std::max(1, settings_.connections); ++i)
    threads.emplace_back([this] { guarded(&Transfer::work); });
  threads.emplace_back([this] { guarded(&Transfer::flush_now_and_then); });
  report();
  for (std::thread& thread : threads) thread.join();
  if (failure_) std::rethrow_exception(failure_);
  TransferResult result;
  for (int i = 0; i < pool_.size(); ++i) {
    result.fetched_bytes += pool_.fetched_bytes(i);
    if (pool_.fetched_bytes(i) > 0) result.from.push_back(pool_.source(i).name());
  }
  return result;
}

// Progress and messages, from the caller's thread, until the drivers are done.
void Transfer::report() {
  for (bool last = false; !last;) {
    PullProgress progress;
    std::deque<std::string> sentences;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return drivers_ == 0; });
      last = drivers_ == 0;
      progress = progress_;
      for (const Job* job : jobs_) {
        const int64_t done = job->part->done();
        progress.active.push_back({job->path(), done, job->part->size()});
        progress.done += done;
      }
      sentences.swap(sentences_);
    }
    for (const std::string& sentence : sentences)
      if (settings_.message) settings_.message(sentence);
    try {
      if (settings_.progress) settings_.progress(progress);
    } catch (...) {
      stop(std::current_exception());
    }
    if (cancelled())
      stop(std::make_exception_ptr(
          HubError(Refusal::kInterrupted, "interrupted; what is there is kept: the same command continues")));
  }
  stop(nullptr);
}

void Transfer::flush_now_and_then() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::duration<double>(settings_.flush_every_s), [&] { return stopped_; })) {
    for (size_t i = 0; i < jobs_.size(); ++i) {
      Job* const job = jobs_[i];
      ++job->in_flight;  // keeps it alive while the lock is open
      lock.unlock();
      std::exception_ptr failure;
      try {
        job->part->heartbeat();
        job->part->flush();
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      --job->in_flight;
      changed_.notify_all();
      if (failure) std::rethrow_exception(failure);
    }
  }
}

// ---- Drivers ----

void Transfer::drive() {
  for (;;) {
    const FileTask* task = nullptr;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      if (stopped_ || next_task_ == plan_.tasks.size()) return;
      task = &plan_.tasks[next_task_++];
    }
    drive_file(*task);
    const std::lock_guard<std::mutex> guard(mutex_);
    progress_.done += std::max<int64_t>(0, task->file.size);
    ++progress_.files_done;
  }
}

bool Transfer::already_there(const FileTask& task) {
  const FilePlace& place = task.place;
  const std::string& etag = task.file.etag();
  if (place.pointer.empty()) {
    if (!is_right_local_file(place, task.file)) return false;
    if (local_etag(place) != etag) write_metadata(place, plan_.listing.commit, etag);
    return true;
  }
  if (!etag.empty() && is_good_file(place.final_path, task.file.size)) {
    link_pointer(place, settings_.no_links);
    return true;
  }
  return is_good_file(place.pointer, task.file.size);
}

void Transfer::drive_file(const FileTask& task) {
  std::optional<FileLock> file_lock;
  if (settings_.use_locks)
    file_lock.emplace(task.place.lock, &abort_, [&] {
      const std::lock_guard<std::mutex> guard(mutex_);
      tell(fmt::format("another process is fetching {}: waiting for it", task.file.path));
    });
  if (already_there(task)) return;
  Job job(task, settings_.piece_bytes);
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (job.part->done() > 0)
      tell(fmt::format("{}: continuing, {} of {} bytes are there", task.file.path, job.part->done(), job.part->size()));
    jobs_.push_back(&job);
    changed_.notify_all();
  }
  try {
    for (int round = 0;; ++round) {
      const std::string hash = hash_as_it_comes(job);
      if (job.etag().empty() || hash == job.etag()) {
        right_hash(job);
        close(job);
        adopt(job, hash);
        return;
      }
      if (round == kMostRounds)
        refuse(Refusal::kWrongHash, "{}: its hash is still wrong after {} rounds", task.file.path, round);
      wrong_hash(job, hash);
    }
  } catch (...) {
    close(job);
    throw;
  }
}

// Takes the job from the workers and waits until none is at it.
void Transfer::close(Job& job) {
  std::unique_lock<std::mutex> lock(mutex_);
  job.closed = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return job.in_flight == 0; });
  std::erase(jobs_, &job);
}

std::string Transfer::hash_as_it_comes(Job& job) {
  Digest digest = Digest::for_etag(job.task->file.etag(), job.part->size());
  std::vector<std::byte> buffer(256 << 10);
  int generation = job.generation;
  int64_t hashed = 0;
  while (hashed < job.part->size() || job.generation != generation) {
    const int64_t frontier = job.part->frontier();
    if (job.generation != generation) {  // the file was started over
      generation = job.generation;
      digest = Digest::for_etag(job.task->file.etag(), job.part->size());
      hashed = 0;
      continue;
    }
    if (frontier > hashed) {
      const auto part = std::span(buffer).first(size_t(std::min<int64_t>(int64_t(buffer.size()), frontier - hashed)));
      if (job.part->read(hashed, part)) {
        digest.update(part);
        hashed += int64_t(part.size());
      } else if (job.generation == generation) {
        refuse(Refusal::kDisk, "{}: became shorter while it was being written", job.task->place.unfinished.string());
      }
      continue;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (job.error) throw HubError(*job.error);
    if (stopped_) refuse(Refusal::kInterrupted, "interrupted; what is there is kept: the same command continues");
    changed_.wait_for(lock, std::chrono::milliseconds(10));
  }
  return digest.hex();
}

void Transfer::wrong_hash(Job& job, const std::string& hash) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    job.held = true;
    changed_.wait(lock, [&] { return job.in_flight == 0 || stopped_; });
    if (stopped_) refuse(Refusal::kInterrupted, "interrupted");
  }
  remember_suspects(job);
  Verdict verdict;
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    verdict = judge(job, pool_, hash, [this](const std::string& sentence) { tell(sentence); });
    const auto trusted = verdict.trusted;
    if (trusted)
      verdict.trusted = [this, trusted](int source) {
        const std::lock_guard<std::mutex> again(mutex_);
        return trusted(source);
      };
  }
  carry_out(verdict, job);
  const std::lock_guard<std::mutex> guard(mutex_);
  job.held = false;
  changed_.notify_all();
}

void Transfer::right_hash(Job& job) {
  const std::set<int> liars = unmasked(job);
  const std::lock_guard<std::mutex> guard(mutex_);
  acquit(job, pool_, liars, [this](const std::string& sentence) { tell(sentence); });
}

// Complete and right: the final name.
void Transfer::adopt(Job& job, const std::string& hash) {
  FilePlace place = job.task->place;
  if (job.task->file.etag().empty() && !place.pointer.empty()) place.final_path = plan_.cache_blobs / hash;
  job.part->finish(place.final_path);
  if (place.pointer.empty())
    write_metadata(place, plan_.listing.commit, hash);
  else
    link_pointer(place, settings_.no_links);
}

// ---- Workers ----

void Transfer::work() {
  HttpClient client(http_);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_) {
    Clock::time_point wake = Clock::now() + std::chrono::milliseconds(200);
    const std::optional<Work> work = pick_work(jobs_, pool_, plan_, wake);
    if (!work) {
      changed_.wait_until(lock, wake);
      continue;
    }
    lock.unlock();
    std::exception_ptr failure;
    try {
      if (work->ask_listing)
        ask_listing(client, work->source);
      else
        fetch(client, *work);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    --work->job->in_flight;
    changed_.notify_all();
    if (failure) std::rethrow_exception(failure);
  }
}

void Transfer::fetch(HttpClient& client, const Work& work) {
  Job& job = *work.job;
  FetchRequest request;
  Source source;
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    source = pool_.source(work.source);
    if (work.given_up > 0)
      tell(fmt::format("{} knows no ranges: {} starts over, the {} bytes that were there are not joined to it",
                       source.name(), job.path(), work.given_up));
    request.direct_url = job.direct_urls[work.source];
    request.known_etag = job.etags[work.source];
  }
  request.source = &source;
  request.repository = plan_.repository;
  request.path = job.path();
  // Only Hugging Face's endpoints know each other's commits; another listing's would name nothing there.
  const bool same_commits = plan_.sources[plan_.primary].kind == SourceKind::kHuggingFace;
  request.url = file_url(source, plan_.repository, same_commits ? plan_.listing.commit : plan_.revision, plan_.revision,
                         job.path());
  request.file_size = job.part->size();
  request.begin = work.whole ? 0 : job.part->begin(work.piece) + job.part->done(work.piece);
  request.end = work.whole ? job.part->size() : job.part->begin(work.piece) + job.part->length(work.piece);
  request.whole = work.whole;
  const Clock::time_point started = Clock::now();
  const int64_t begin = request.begin;
  const FetchOutcome outcome = fetch_range(client, request, [&](int64_t position, std::span<const std::byte> bytes) {
    rate_.take(int64_t(bytes.size()));
    job.part->write(position, bytes);
  });
  settle(work, outcome, begin, started);
}

void Transfer::settle(const Work& work, const FetchOutcome& outcome, int64_t begin, Clock::time_point started) {
  Job& job = *work.job;
  const std::lock_guard<std::mutex> guard(mutex_);
  job.taken[size_t(work.piece)] = false;
  job.direct_urls[work.source] = outcome.direct_url;
  if (outcome.received > 0) job.segments.push_back({begin, begin + outcome.received, work.source, ""});
  pool_.succeeded(work.source, outcome.received, outcome.ranged, keeps(work, outcome));
  if (outcome.changed) {
    const std::string host = pool_.source(work.source).name();
    if (++job.changes >= kMostChanges) {
      job.banned.insert(work.source);
      job.errors.insert_or_assign(
          work.source,
          HubError(Refusal::kWrongHash,
                   fmt::format("{}: {} changes on the server while it is being fetched", host, job.path())));
    }
    tell(fmt::format("{}: {} changed on the server between two ranges: its bytes are not joined, the file starts over",
                     host, job.path()));
    job.start_over = true;
    return;
  }
  if (std::string& known = job.etags[work.source]; known.empty()) known = outcome.etag;
  if (outcome.failure) settle_failure(work, outcome, started);
}

void Transfer::settle_failure(const Work& work, const FetchOutcome& outcome, Clock::time_point started) {
  Job& job = *work.job;
  const HubError& error = outcome.failure->error;
  if (error.refusal() == Refusal::kInterrupted) return;
  // What a server refused says more than a connection that was cut afterwards.
  const bool cut = error.refusal() == Refusal::kNetwork;
  const auto before = job.errors.find(work.source);
  if (cut && work.whole)
    job.errors.insert_or_assign(
        work.source, HubError(Refusal::kNoRanges, fmt::format("{}; {} ignores ranges, so each try starts over",
                                                              error.what(), pool_.source(work.source).name())));
  else if (!cut || before == job.errors.end() || before->second.refusal() == Refusal::kNetwork)
    job.errors.insert_or_assign(work.source, error);
  const bool progressed = outcome.received >= kRealProgress && keeps(work, outcome);
  tell(pool_.failed(work.source, *outcome.failure, progressed, started));
  switch (error.refusal()) {
    case Refusal::kNetwork:
    case Refusal::kTooManyRequests:
    case Refusal::kCertificate:
      return;
    case Refusal::kNoRanges:
      return pool_.ignored_range(work.source);
    default:
      break;
  }
  if (job.part->done() > 0 && ++job.strikes[work.source] < kMostStrikes) {
    pool_.cool_down(work.source);  // the file is there in parts, so perhaps something in between answered
    return;
  }
  if (job.banned.insert(work.source).second) tell(std::string(error.what()) + "; trying the next source");
}

// A source that did not make the listing: only its files of the same name, size and, where both tell, hash are used.
void Transfer::ask_listing(HttpClient& client, int index) {
  Source source;
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (pool_.offers(index) || pool_.dropped(index)) return;
    source = pool_.source(index);
  }
  std::set<std::string> same;
  std::optional<HubError> failure;
  try {
    std::map<std::string, RemoteFile> theirs;
    for (RemoteFile& file : list_repository(client, source, plan_.repository, plan_.revision).files)
      theirs.emplace(file.path, file);
    for (const FileTask& task : plan_.tasks) {
      const auto found = theirs.find(task.file.path);
      if (found == theirs.end() || found->second.size != task.file.size) continue;
      const RemoteFile& other = found->second;
      const auto differ = [](const std::string& a, const std::string& b) { return !a.empty() && !b.empty() && a != b; };
      if (differ(task.file.sha256, other.sha256) || differ(task.file.git_sha1, other.git_sha1)) continue;
      if (!task.file.etag().empty()) same.insert(task.file.path);
    }
  } catch (const HubError& error) {
    if (error.refusal() == Refusal::kInterrupted) return;
    failure = error;
  }
  const std::lock_guard<std::mutex> guard(mutex_);
  pool_.source(index) = source;
  if (failure)
    pool_.drop(index, *failure);
  else
    pool_.set_offers(index, std::move(same));
}

}  // namespace

TransferResult transfer(const TransferPlan& plan, const TransferSettings& settings) {
  return Transfer(plan, settings).run();
}

}  // namespace updraft::hub
