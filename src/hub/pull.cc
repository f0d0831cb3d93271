#include "hub/pull.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "base/file.h"
#include "hub/digest.h"
#include "hub/file_lock.h"
#include "hub/names.h"
#include "hub/selection.h"
#include "hub/source_pool.h"

namespace updraft::hub {
namespace {

void tell(const PullOptions& options, const std::string& sentence) {
  if (!sentence.empty() && options.transfer.message) options.transfer.message(sentence);
}

bool cancelled(const PullOptions& options) {
  return options.transfer.http.cancel && options.transfer.http.cancel->load();
}

// Asks one source, again after a pause when the network failed.
Listing list_patiently(HttpClient& client, Source& source, const PullOptions& options) {
  const Patience& patience = options.transfer.patience;
  constexpr int kListingTries = 3;
  for (int attempt = 1;; ++attempt) {
    try {
      return list_repository(client, source, options.repository, options.revision);
    } catch (const HubError& error) {
      const bool again = error.refusal() == Refusal::kNetwork || error.refusal() == Refusal::kTooManyRequests;
      if (!again || attempt >= std::min(patience.attempts, kListingTries)) throw;
      const double pause = std::min(patience.backoff_s * std::pow(2.0, attempt - 1), patience.longest_backoff_s);
      const auto until = Clock::now() + std::chrono::duration<double>(pause);
      while (Clock::now() < until && !cancelled(options)) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (cancelled(options)) refuse(Refusal::kInterrupted, "interrupted");
    }
  }
}

// A definite "no" of the Hub is not overruled by another site's repository of the same name, unless the user listed it.
bool may_ask_the_next(const HubError& error, const PullOptions& options) {
  switch (error.refusal()) {
    case Refusal::kNetwork:
    case Refusal::kCertificate:
    case Refusal::kTooManyRequests:
    case Refusal::kBadListing:
    case Refusal::kRedirects:
      return true;
    case Refusal::kInterrupted:
    case Refusal::kUnsafeName:
    case Refusal::kDisk:
      return false;
    default:
      return !options.sources.endpoints.empty();
  }
}

// Fills listing, primary and sources of the plan.
void find_listing(TransferPlan& plan, const PullOptions& options) {
  HttpClient client(options.transfer.http);
  plan.sources = make_sources(options.sources);
  std::optional<HubError> first;
  for (size_t i = 0; i < plan.sources.size(); ++i) {
    try {
      plan.listing = list_patiently(client, plan.sources[i], options);
      plan.primary = i;
      return;
    } catch (const HubError& error) {
      if (!may_ask_the_next(error, options)) throw;
      if (!first || (first->refusal() == Refusal::kNetwork && error.refusal() != Refusal::kNetwork)) first = error;
      tell(options,
           std::string(error.what()) + (i + 1 < plan.sources.size() ? "; trying " + plan.sources[i + 1].name() : ""));
    }
  }
  if (!first) refuse(Refusal::kNetwork, "there is no source to ask");
  throw HubError(*first);
}

int64_t bytes_on_disk(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? int64_t(status.st_blocks) * 512 : 0;
}

void make_tasks(TransferPlan& plan, const Selection& selection, const PullOptions& options, const Cache& cache) {
  int64_t needed = 0;
  for (const RemoteFile& file : selection.files) {
    FileTask task{file, {}};
    Digest stand_in(Digest::kSha1);
    stand_in.update(fmt::format("{}\n{}\n{}", plan.listing.commit, file.path, file.size));
    const std::string blob = file.etag().empty() ? "unverified-" + stand_in.hex() : file.etag();
    task.place = options.local_folder ? local_place(*options.local_folder, file.path, blob)
                                      : cache.place(options.repository, plan.listing.commit, file.path, blob);
    if (!is_there(task.place.final_path) && !is_there(task.place.pointer))
      needed += std::max<int64_t>(0, file.size - bytes_on_disk(task.place.unfinished));
    plan.tasks.push_back(std::move(task));
  }
  check_free_space(options.local_folder.value_or(options.cache), needed);
}

// Where the listing of the repository is kept that was pulled last.
Cache record_of(const PullOptions& options) {
  return options.local_folder ? local_record(*options.local_folder) : Cache(options.cache);
}

// What the revision was when it was last pulled into the local folder or the cache.
std::optional<Listing> known_listing(const PullOptions& options) {
  for (const Cache& record : {record_of(options), Cache(options.cache)}) {
    const auto commit =
        is_commit(options.revision) ? options.revision : record.read_ref(options.repository, options.revision);
    if (!commit) continue;
    if (auto files = record.read_trees(options.repository, *commit)) return Listing{*commit, std::move(*files)};
  }
  return std::nullopt;
}

PullResult use_what_is_here(const PullOptions& options) {
  const fs::path place = options.local_folder.value_or(options.cache);
  const std::optional<Listing> listing = known_listing(options);
  if (!listing)
    refuse(Refusal::kOffline,
           "which files {} (revision {}) has is not recorded in {}, and the network is not to be used (--offline, "
           "HF_HUB_OFFLINE): run this once with a network (what is there already is checked and kept), or use a bundle",
           options.repository, options.revision, place.string());
  const Cache cache(options.cache);
  PullResult result;
  result.folder = options.local_folder.value_or(cache.snapshot(options.repository, listing->commit));
  result.commit = listing->commit;
  result.from_cache = true;
  std::vector<std::string> missing;
  for (const RemoteFile& file : select(*listing, options.include, options.exclude).files) {
    const bool right = options.local_folder
                           ? is_right_local_file(local_place(*options.local_folder, file.path, file.etag()), file)
                           : is_good_file(result.folder / file.path, file.size);
    if (!right) missing.push_back(file.path);
    result.bytes += std::max<int64_t>(0, file.size);
    ++result.files;
  }
  if (missing.empty()) return result;
  refuse(Refusal::kOffline,
         "{}: {} of {} is missing there or not what was listed{}, and the network is not to be used (--offline, "
         "HF_HUB_OFFLINE): the same command with a network fetches what is missing and nothing else",
         result.folder.string(), missing.front(), options.repository,
         missing.size() > 1 ? fmt::format(" (and {} more of {} files)", missing.size() - 1, result.files) : "");
}

}  // namespace

void check_free_space(const fs::path& folder, int64_t bytes) {
  fs::path there = fs::absolute(folder);
  while (!is_there(there) && there.has_relative_path()) there = there.parent_path();
  struct statvfs space {};
  if (::statvfs(there.c_str(), &space) != 0) return;  // unknown: writing will tell
  const int64_t free = int64_t(space.f_bavail) * int64_t(space.f_frsize);
  if (bytes > free)
    refuse(Refusal::kDisk,
           "{}: {:.2f} GB are needed and {:.2f} GB are free; nothing was fetched: make room, or choose another place "
           "with --local-dir or HF_HOME",
           folder.string(), double(bytes) / 1e9, double(free) / 1e9);
}

PullResult pull(const PullOptions& options) {
  check_repository_id(options.repository);
  check_revision(options.revision);
  const Cache cache(options.cache);
  PullResult result;
  const bool everything = options.include.empty() && options.exclude.empty();
  const auto use_cache = [&](const fs::path& folder) {
    result.folder = folder;
    result.commit = folder.filename();
    result.from_cache = true;
    return result;
  };
  const auto cached =
      options.local_folder || !everything ? std::nullopt : cache.find(options.repository, options.revision);
  if (options.offline) return cached ? use_cache(*cached) : use_what_is_here(options);
  if (cached && is_commit(options.revision)) return use_cache(*cached);

  TransferPlan plan;
  plan.repository = options.repository;
  plan.revision = options.revision;
  try {
    find_listing(plan, options);
  } catch (const HubError& error) {
    if (!cached || (error.refusal() != Refusal::kNetwork && error.refusal() != Refusal::kUnauthorized)) throw;
    tell(options, fmt::format("{}; the copy in the cache is used", error.what()));
    return use_cache(*cached);
  }
  const Selection selection = select(plan.listing, options.include, options.exclude);
  tell(options, describe_skipped(selection));
  if (options.local_folder) {
    prepare_local(*options.local_folder);
  } else {
    cache.prepare(options.repository);
    plan.cache_blobs = cache.repository(options.repository) / "blobs";
  }
  remove_leftovers(options.local_folder ? *options.local_folder / ".cache" / "huggingface"
                                        : cache.repository(options.repository));
  make_tasks(plan, selection, options, cache);
  result.unverified = std::any_of(selection.files.begin(), selection.files.end(),
                                  [](const RemoteFile& file) { return file.etag().empty(); });
  const Cache record = record_of(options);
  if (!result.unverified) record.write_trees(options.repository, plan.listing.commit, plan.listing.files);
  const TransferResult transferred = transfer(plan, options.transfer);
  record.write_ref(options.repository, options.revision, plan.listing.commit);
  result.folder = options.local_folder.value_or(cache.snapshot(options.repository, plan.listing.commit));
  result.commit = plan.listing.commit;
  result.bytes = selection.bytes;
  result.files = int(selection.files.size());
  result.fetched_bytes = transferred.fetched_bytes;
  result.from = transferred.from;
  return result;
}

}  // namespace updraft::hub
