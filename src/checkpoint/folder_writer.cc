#include "checkpoint/folder_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/check.h"
#include "base/error.h"
#include "base/throwing_loop.h"

namespace updraft::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr int64_t kChunkBytes = 4 << 20;    // written at a time by each thread
constexpr int64_t kHeaderAlignment = 4096;  // tensors start on a page

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : path_(path), descriptor_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) fail("{}: cannot be opened for writing: {}.", path_.string(), std::strerror(errno));
  }
  ~Descriptor() { close(descriptor_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return descriptor_; }

  void write_at(int64_t offset, const void* data, int64_t bytes) const {
    const auto* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = pwrite(descriptor_, from, size_t(bytes), offset);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail_writing(written < 0 ? errno : ENOSPC);
      from += written, offset += written, bytes -= written;
    }
  }

  [[noreturn]] void fail_writing(int reason) const {
    const char* remedy = "";
    if (reason == ENOSPC || reason == EDQUOT) remedy = "; free some space or choose another place";
    if (reason == EFBIG) remedy = "; allow larger files (ulimit -f) or choose another file system";
    fail("{}: writing failed: {}{}.", path_.string(), std::strerror(reason), remedy);
  }

  void flush() const {
    if (fsync(descriptor_) != 0) fail("{}: flushing to disk failed: {}.", path_.string(), std::strerror(errno));
  }

 private:
  fs::path path_;
  int descriptor_;
};

void write_text(const fs::path& path, const std::string& text) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  file.write_at(0, text.data(), int64_t(text.size()));
  file.flush();
}

constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer.model",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "chat_template.jinja",
                                           "vocab.json",
                                           "merges.txt"};
constexpr const char* kMoreTemplates = "additional_chat_templates";

// Whether a run that was killed may have left a file of this name; config.json, the last one, makes a folder complete.
bool may_be_left_over(const std::string& name) {
  return (name.starts_with("model") && name.ends_with(".safetensors")) || name == "model.safetensors.index.json" ||
         name == "generation_config.json" || name == kMoreTemplates ||
         std::find(std::begin(kTokenizerFiles), std::end(kTokenizerFiles), name) != std::end(kTokenizerFiles);
}

// The folder NAME.partial, held by this process alone; removed again unless it became NAME.
class PartialFolder {
 public:
  explicit PartialFolder(const fs::path& folder) : final_(folder), path_(folder) {
    path_ += ".partial";
    refuse_what_is_not_ours();
    fs::create_directories(path_);
    lock_.emplace(path_, O_RDONLY | O_DIRECTORY);
    if (flock(lock_->get(), LOCK_EX | LOCK_NB) != 0) {
      lock_.reset();
      fail("{}: another process is writing this folder; wait for it or choose another name.", path_.string());
    }
    for (const fs::directory_entry& left_over : fs::directory_iterator(path_)) fs::remove_all(left_over.path());
  }
  ~PartialFolder() {
    std::error_code ignored;
    if (lock_ && !published_) fs::remove_all(path_, ignored);
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  fs::path operator/(const std::string& name) const { return path_ / name; }

  void publish() {
    lock_->flush();
    std::error_code error;
    fs::rename(path_, final_, error);
    if (error) fail("{}: cannot be renamed to {}: {}.", path_.string(), final_.string(), error.message());
    published_ = true;
    Descriptor(final_.parent_path(), O_RDONLY | O_DIRECTORY).flush();
  }

 private:
  // The work is done there, and what lies there is removed: not a folder that somebody else made.
  void refuse_what_is_not_ours() const {
    const fs::file_status status = fs::symlink_status(path_);
    if (!fs::exists(status)) return;
    constexpr const char* kRemedy = "that is where the work is done; move it away or choose another name";
    if (!fs::is_directory(status)) fail("{}: is there already and is no folder; {}.", path_.string(), kRemedy);
    for (const fs::directory_entry& entry : fs::directory_iterator(path_))
      if (!may_be_left_over(entry.path().filename().string()))
        fail("{}: is there already and holds {}; {}.", path_.string(), entry.path().filename().string(), kRemedy);
  }

  fs::path final_, path_;
  std::optional<Descriptor> lock_;
  bool published_ = false;
};

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t bytes_of(const WrittenTensor& tensor, int64_t rows) {
  if (!tensor.content.empty()) return int64_t(tensor.content.size());
  return ceil_divide(rows, tensor.unit_rows) * tensor.unit_bytes;
}

int64_t bytes_of(const FolderWork& work) {
  int64_t bytes = 0;
  for (const WrittenTensor& tensor : work.tensors) bytes += bytes_of(tensor, work.rows);
  return bytes;
}

struct Placed {
  const FolderWork* work;
  std::vector<int64_t> offsets;  // of its tensors, in the shard's data
};

struct Shard {
  std::string name;
  std::vector<Placed> works;
  int64_t bytes = 0;
};

std::vector<Shard> plan_shards(const std::vector<FolderWork>& works, int64_t shard_bytes) {
  std::vector<Shard> shards(1);
  for (const FolderWork& work : works) {
    if (!shards.back().works.empty() && shards.back().bytes + bytes_of(work) > shard_bytes) shards.emplace_back();
    Shard& shard = shards.back();
    Placed placed{&work, {}};
    for (const WrittenTensor& tensor : work.tensors) {
      placed.offsets.push_back(shard.bytes);
      shard.bytes += bytes_of(tensor, work.rows);
    }
    shard.works.push_back(std::move(placed));
  }
  for (size_t i = 0; i < shards.size(); ++i)
    shards[i].name = shards.size() == 1 ? "model.safetensors"
                                        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  return shards;
}

// The length and the JSON of a safetensors file, padded with spaces.
std::string shard_header(const Shard& shard) {
  ordered_json json = {{"__metadata__", {{"format", "pt"}}}};
  for (const Placed& placed : shard.works)
    for (size_t i = 0; i < placed.offsets.size(); ++i) {
      const WrittenTensor& tensor = placed.work->tensors[i];
      const int64_t begin = placed.offsets[i], end = begin + bytes_of(tensor, placed.work->rows);
      json[tensor.name] = {{"dtype", tensor.type}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    }
  std::string text = json.dump();
  const int64_t bytes = 8 + int64_t(text.size());
  text.append(size_t(ceil_divide(bytes, kHeaderAlignment) * kHeaderAlignment - bytes), ' ');
  const uint64_t length = text.size();
  char prefix[8];
  for (int i = 0; i < 8; ++i) prefix[i] = char(length >> (8 * i) & 0xff);
  return std::string(prefix, 8) + text;
}

std::string index_json(const std::vector<Shard>& shards) {
  ordered_json index = {{"metadata", {{"total_size", 0}}}, {"weight_map", ordered_json::object()}};
  int64_t total = 0;
  for (const Shard& shard : shards) {
    total += shard.bytes;
    for (const Placed& placed : shard.works)
      for (const WrittenTensor& tensor : placed.work->tensors) index["weight_map"][tensor.name] = shard.name;
  }
  index["metadata"]["total_size"] = total;
  return index.dump(2) + "\n";
}

ordered_json ids_json(const std::vector<int32_t>& ids) {
  return ids.size() == 1 ? ordered_json(ids[0]) : ordered_json(ids);
}

// Counts bytes over threads and reports them, one thread at a time.
class Meter {
 public:
  Meter(const WriteProgress& progress, int64_t total) : progress_(progress), total_(total) {}
  void add(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (progress_) progress_(done_, total_);
  }

 private:
  const WriteProgress& progress_;
  int64_t total_;
  int64_t done_ = 0;
  std::mutex mutex_;
};

// One shard's file while its works are computed.
class ShardWriter {
 public:
  ShardWriter(const fs::path& path, const Shard& shard, ThreadTeam& team, Meter& meter)
      : file_(path, O_WRONLY | O_CREAT | O_EXCL), header_(shard_header(shard)), team_(team), meter_(meter) {
    file_.write_at(0, header_.data(), int64_t(header_.size()));
    for (const Placed& placed : shard.works) write(placed);
    file_.flush();
  }

 private:
  void write(const Placed& placed) {
    const FolderWork& work = *placed.work;
    if (work.prepare) work.prepare();
    for (size_t i = 0; i < work.tensors.size(); ++i) {
      const std::string& content = work.tensors[i].content;
      if (content.empty()) continue;
      file_.write_at(int64_t(header_.size()) + placed.offsets[i], content.data(), int64_t(content.size()));
      meter_.add(int64_t(content.size()));
    }
    const int64_t row_bytes = std::max<int64_t>(1, bytes_of(work) / std::max<int64_t>(work.rows, 1));
    const int64_t chunk = std::max<int64_t>(1, kChunkBytes / (row_bytes * work.chunk_rows)) * work.chunk_rows;
    throwing_parallel_for(team_, work.rows, chunk,
                          [&](int64_t begin, int64_t end, int) { write_rows(placed, begin, end); });
  }

  void write_rows(const Placed& placed, int64_t begin, int64_t end) {
    const FolderWork& work = *placed.work;
    std::vector<std::vector<std::byte>> buffers(work.tensors.size());
    std::vector<std::byte*> out(work.tensors.size(), nullptr);
    for (size_t i = 0; i < buffers.size(); ++i) {
      if (!work.tensors[i].content.empty()) continue;
      buffers[i].resize(size_t(bytes_of(work.tensors[i], end - begin)));
      out[i] = buffers[i].data();
    }
    work.produce(begin, end, out);
    for (size_t i = 0; i < buffers.size(); ++i) {
      if (out[i] == nullptr) continue;
      const int64_t at = begin / work.tensors[i].unit_rows * work.tensors[i].unit_bytes;
      file_.write_at(int64_t(header_.size()) + placed.offsets[i] + at, out[i], int64_t(buffers[i].size()));
      meter_.add(int64_t(buffers[i].size()));
    }
  }

  const Descriptor file_;
  const std::string header_;
  ThreadTeam& team_;
  Meter& meter_;
};

// The tokenizer and its templates go with the weights.
void copy_tokenizer_files(const fs::path& from, const PartialFolder& to) {
  if (from.empty() || !fs::is_directory(from)) return;
  for (const char* name : kTokenizerFiles)
    if (fs::is_regular_file(from / name)) fs::copy_file(from / name, to / name);
  const fs::path more = from / kMoreTemplates;
  if (!fs::is_directory(more)) return;
  fs::create_directory(to / kMoreTemplates);
  for (const auto& entry : fs::directory_iterator(more))
    if (entry.is_regular_file()) fs::copy_file(entry.path(), (to / kMoreTemplates) / entry.path().filename());
}

// Where the folder will lie: behind a link, for the folder is renamed to its place.
fs::path place_of(const fs::path& folder) {
  fs::path place = fs::absolute(folder);
  if (!place.has_filename()) place = place.parent_path();  // a trailing slash
  // The folders above as the file system has them: LINK/.. is beside what LINK points to.
  const bool dots = place.filename() == "." || place.filename() == "..";
  place = dots ? fs::weakly_canonical(place) : fs::weakly_canonical(place.parent_path()) / place.filename();
  if (!fs::is_symlink(place)) return place;
  if (!fs::exists(place))
    fail("{}: is a link to {}, which does not exist; make that folder, remove the link or choose another name.",
         place.string(), fs::read_symlink(place).string());
  return fs::canonical(place);
}

bool is_mount_point(const fs::path& folder) {
  struct statx own {};
  struct statx parent {};
  if (statx(AT_FDCWD, folder.c_str(), 0, STATX_BASIC_STATS, &own) != 0 ||
      statx(AT_FDCWD, folder.parent_path().c_str(), 0, STATX_BASIC_STATS, &parent) != 0)
    return false;
  // Linux before 5.8 does not know the attribute, which alone tells of a folder mounted within its own file system.
  return (own.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 || own.stx_dev_major != parent.stx_dev_major ||
         own.stx_dev_minor != parent.stx_dev_minor;
}

void check_place(const fs::path& folder, int64_t bytes) {
  if (fs::exists(folder) && (!fs::is_directory(folder) || !fs::is_empty(folder)))
    fail("{}: already exists and is not an empty folder; remove it or choose another name.", folder.string());
  if (fs::exists(folder) && is_mount_point(folder))
    fail("{}: a file system is mounted there, so that it cannot be replaced; choose a folder in it, like {}.",
         folder.string(), (folder / "model").string());
  fs::create_directories(folder.parent_path());
  const int64_t margin = 64 << 20;
  check_space(folder, int64_t(fs::space(folder.parent_path()).available), bytes + margin);
}

}  // namespace

void check_space(const fs::path& folder, int64_t free_bytes, int64_t needed_bytes) {
  if (free_bytes >= needed_bytes) return;
  const auto gigabytes = [](int64_t bytes, int digits) { return fmt::format("{:.{}f}", double(bytes) / 1e9, digits); };
  int digits = 1;
  while (gigabytes(free_bytes, digits) == gigabytes(needed_bytes, digits)) ++digits;
  fail("{}: the disk has {} GB free, but the model needs {} GB; free some space or choose another place.",
       folder.string(), gigabytes(free_bytes, digits), gigabytes(needed_bytes, digits));
}

std::string generation_config_json(const GenerationConfig& generation) {
  ordered_json json = ordered_json::object();
  const auto ids = [&](const char* key, const std::vector<int32_t>& value) {
    if (!value.empty()) json[key] = ids_json(value);
  };
  const auto set = [&](const char* key, const auto& value) {
    if (value) json[key] = *value;
  };
  ids("bos_token_id", generation.bos_ids);
  ids("eos_token_id", generation.eos_ids);
  ids("pad_token_id", generation.pad_ids);
  set("do_sample", generation.do_sample);
  set("temperature", generation.temperature);
  set("top_k", generation.top_k);
  set("top_p", generation.top_p);
  set("min_p", generation.min_p);
  set("typical_p", generation.typical_p);
  set("epsilon_cutoff", generation.epsilon_cutoff);
  set("eta_cutoff", generation.eta_cutoff);
  set("repetition_penalty", generation.repetition_penalty);
  set("no_repeat_ngram_size", generation.no_repeat_ngram_size);
  set("max_new_tokens", generation.max_new_tokens);
  set("max_length", generation.max_length);
  set("min_new_tokens", generation.min_new_tokens);
  if (!generation.bad_words.empty()) json["bad_words_ids"] = generation.bad_words;
  if (!generation.sequence_bias.empty()) json["sequence_bias"] = generation.sequence_bias;
  if (!generation.suppressed_ids.empty()) json["suppress_tokens"] = generation.suppressed_ids;
  if (!generation.begin_suppressed_ids.empty()) json["begin_suppress_tokens"] = generation.begin_suppressed_ids;
  if (!generation.stop_strings.empty()) json["stop_strings"] = generation.stop_strings;
  return json.dump(2) + "\n";
}

FolderWork copy_work(const std::string& name, std::vector<int64_t> shape, const RowSourcePtr& rows) {
  std::string type(updraft::name(rows->dtype()));
  for (char& letter : type) letter = char(std::toupper(letter));
  FolderWork work;
  work.tensors = {
      {.name = name, .type = type, .shape = std::move(shape), .unit_bytes = rows->row_bytes(), .content = {}}};
  work.rows = rows->rows();
  work.produce = [rows](int64_t begin, int64_t end, std::span<std::byte* const> out) {
    rows->read_rows(begin, end, out[0]);
  };
  return work;
}

void write_works(const fs::path& folder, const std::vector<FolderWork>& works, int64_t shard_bytes,
                 const fs::path& tokenizer_from, const TextFiles& texts, const WriteProgress& progress,
                 int threads) try {
  if (shard_bytes < 1) fail("{}: a shard must have at least one byte.", folder.string());
  const fs::path place = place_of(folder);
  const std::vector<Shard> shards = plan_shards(works, shard_bytes);
  int64_t total = 0;
  for (const Shard& shard : shards) total += shard.bytes;
  check_place(place, total);
  PartialFolder partial(place);
  Meter meter(progress, total);
  ThreadTeam team(threads > 0 ? threads : available_processors());
  for (const Shard& shard : shards) ShardWriter(partial / shard.name, shard, team, meter);
  copy_tokenizer_files(tokenizer_from, partial);
  if (shards.size() > 1) write_text(partial / "model.safetensors.index.json", index_json(shards));
  for (const auto& [name, text] : texts) {
    fs::create_directories((partial / name).parent_path());
    write_text(partial / name, text);
  }
  partial.publish();
} catch (const fs::filesystem_error& error) {
  fail("{}: the folder cannot be written: {}.", folder.string(), error.code().message());
}

}  // namespace updraft::checkpoint
