// write_folder: any checkpoint as a Hugging Face folder (sharded safetensors with an index, config.json,
// generation_config.json; a source folder's tokenizer files are copied). Streams: never holds more than a few MiB. The
// folder is built beside its final place as NAME.partial, flushed to disk and renamed when it is whole; a run that is
// killed leaves NAME.partial without a config.json, which the next run into the same place starts afresh.
// Source: https://huggingface.co/docs/safetensors (format), huggingface_hub split_torch_state_dict_into_shards (names).
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <exception>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/thread_team.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/decoder_tensors.h"

namespace updraft::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using Progress = std::function<void(int64_t done, int64_t total)>;

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
      if (written <= 0) fail("{}: writing failed: {}.", path_.string(), std::strerror(written < 0 ? errno : ENOSPC));
      from += written, offset += written, bytes -= written;
    }
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

// The folder NAME.partial, held by this process alone; removed again unless it became NAME.
class PartialFolder {
 public:
  explicit PartialFolder(const fs::path& folder) : final_(folder), path_(folder) {
    path_ += ".partial";
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
  fs::path final_, path_;
  std::optional<Descriptor> lock_;
  bool published_ = false;
};

struct Placed {
  DecoderTensor tensor;
  RowSourcePtr rows;
  int64_t offset = 0;  // in the shard's data

  int64_t bytes() const { return rows->rows() * rows->row_bytes(); }
};

struct Shard {
  std::string name;
  std::vector<Placed> tensors;
  int64_t bytes = 0;
};

std::vector<Shard> plan_shards(const Checkpoint& checkpoint, DType dtype, int64_t shard_bytes) {
  std::vector<Shard> shards(1);
  for (DecoderTensor& tensor : decoder_tensors(checkpoint.config())) {
    Placed placed{tensor, convert(checkpoint.find(tensor.name, tensor.rows(), tensor.columns()), dtype)};
    if (!shards.back().tensors.empty() && shards.back().bytes + placed.bytes() > shard_bytes) shards.emplace_back();
    placed.offset = shards.back().bytes;
    shards.back().bytes += placed.bytes();
    shards.back().tensors.push_back(std::move(placed));
  }
  for (size_t i = 0; i < shards.size(); ++i)
    shards[i].name = shards.size() == 1 ? "model.safetensors"
                                        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  return shards;
}

// The length and the JSON of a safetensors file, padded with spaces.
std::string shard_header(const Shard& shard, DType dtype) {
  std::string type(name(dtype));
  for (char& letter : type) letter = char(std::toupper(letter));
  ordered_json json = {{"__metadata__", {{"format", "pt"}}}};
  for (const Placed& placed : shard.tensors)
    json[placed.tensor.name] = {{"dtype", type},
                                {"shape", placed.tensor.shape},
                                {"data_offsets", {placed.offset, placed.offset + placed.bytes()}}};
  std::string text = json.dump();
  const int64_t bytes = 8 + int64_t(text.size());
  text.append(size_t((bytes + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment - bytes), ' ');
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
    for (const Placed& placed : shard.tensors) index["weight_map"][placed.tensor.name] = shard.name;
  }
  index["metadata"]["total_size"] = total;
  return index.dump(2) + "\n";
}

ordered_json ids_json(const std::vector<int32_t>& ids) {
  return ids.size() == 1 ? ordered_json(ids[0]) : ordered_json(ids);
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
  return json.dump(2) + "\n";
}

// Counts bytes over threads and reports them, one thread at a time.
class Meter {
 public:
  Meter(const Progress& progress, int64_t total) : progress_(progress), total_(total) {}
  void add(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (progress_) progress_(done_, total_);
  }

 private:
  const Progress& progress_;
  int64_t total_;
  int64_t done_ = 0;
  std::mutex mutex_;
};

// Rows [begin, end) of a tensor, about kChunkBytes.
struct Chunk {
  const Placed* placed;
  int64_t begin, end;
};

std::vector<Chunk> cut(const Shard& shard) {
  std::vector<Chunk> chunks;
  for (const Placed& placed : shard.tensors) {
    const int64_t step = std::max<int64_t>(1, kChunkBytes / placed.rows->row_bytes());
    for (int64_t row = 0; row < placed.rows->rows(); row += step)
      chunks.push_back({&placed, row, std::min(placed.rows->rows(), row + step)});
  }
  return chunks;
}

void write_shard(const fs::path& path, const Shard& shard, DType dtype, ThreadTeam& team, Meter& meter) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_EXCL);
  const std::string header = shard_header(shard, dtype);
  file.write_at(0, header.data(), int64_t(header.size()));
  const std::vector<Chunk> chunks = cut(shard);
  std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(team.size()));
  std::atomic<bool> failed = false;
  std::exception_ptr failure;
  team.parallel_for(int64_t(chunks.size()), 1, [&](int64_t begin, int64_t end, int member) {
    for (int64_t i = begin; i < end && !failed.load(); ++i) {
      try {  // a team's function must not throw
        const auto& [placed, first, last] = chunks[size_t(i)];
        const int64_t bytes = (last - first) * placed->rows->row_bytes();
        std::vector<std::byte>& buffer = buffers[size_t(member)];
        buffer.resize(std::max(buffer.size(), size_t(bytes)));
        placed->rows->read_rows(first, last, buffer.data());
        const int64_t at = int64_t(header.size()) + placed->offset + first * placed->rows->row_bytes();
        file.write_at(at, buffer.data(), bytes);
        meter.add(bytes);
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
  });
  if (failure) std::rethrow_exception(failure);
  file.flush();
}

// The tokenizer and its templates go with the weights.
void copy_tokenizer_files(const fs::path& from, const PartialFolder& to) {
  if (from.empty() || !fs::is_directory(from)) return;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt"})
    if (fs::is_regular_file(from / name)) fs::copy_file(from / name, to / name);
}

void check_place(const fs::path& folder, int64_t bytes) {
  if (fs::exists(folder) && (!fs::is_directory(folder) || !fs::is_empty(folder)))
    fail("{}: already exists and is not an empty folder; remove it or choose another name.", folder.string());
  fs::create_directories(folder.parent_path());
  const int64_t margin = 64 << 20, available = int64_t(fs::space(folder.parent_path()).available);
  if (available < bytes + margin)
    fail("{}: the disk has {:.1f} GB free, but the model needs {:.1f} GB; free some space or choose another place.",
         folder.string(), double(available) / 1e9, double(bytes + margin) / 1e9);
}

}  // namespace

void write_folder(const Checkpoint& checkpoint, const fs::path& folder, DType dtype, int64_t shard_bytes,
                  const Progress& progress) try {
  if (shard_bytes < 1) fail("{}: a shard must have at least one byte.", folder.string());
  fs::path place = fs::absolute(folder).lexically_normal();
  if (!place.has_filename()) place = place.parent_path();  // a trailing slash
  const std::vector<Shard> shards = plan_shards(checkpoint, dtype, shard_bytes);
  int64_t total = 0;
  for (const Shard& shard : shards) total += shard.bytes;
  check_place(place, total);
  PartialFolder partial(place);
  Meter meter(progress, total);
  ThreadTeam team(available_processors());
  for (const Shard& shard : shards) write_shard(partial / shard.name, shard, dtype, team, meter);
  copy_tokenizer_files(checkpoint.path(), partial);
  if (shards.size() > 1) write_text(partial / "model.safetensors.index.json", index_json(shards));
  write_text(partial / "generation_config.json", generation_config_json(checkpoint.generation_config()));
  write_text(partial / "config.json", to_json(checkpoint.config(), dtype).dump(2) + "\n");
  partial.publish();
} catch (const fs::filesystem_error& error) {
  fail("{}: the folder cannot be written: {}.", folder.string(), error.code().message());
}

}  // namespace updraft::checkpoint
