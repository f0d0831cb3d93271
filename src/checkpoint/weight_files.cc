#include "checkpoint/weight_files.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/system_memory.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/strict_json.h"
#include "checkpoint/tensor_name.h"
#include "checkpoint/torch_pickle.h"

namespace updraft::checkpoint {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int64_t kLargestIndex = 256 << 20;

struct Container {
  const char* name;
  const char* single;
  const char* index;
  std::vector<StoredTensor> (*read)(const RandomAccess&);
};

// In transformers' order of preference.
constexpr Container kContainers[] = {
    {"safetensors", "model.safetensors", "model.safetensors.index.json", read_safetensors},
    {"pytorch_model.bin", "pytorch_model.bin", "pytorch_model.bin.index.json", read_torch_file}};

// What people have in a file of weights that is none: better said than reported as a damaged header.
void refuse_lookalikes(const File& file) {
  std::string head(size_t(std::min<int64_t>(file.size(), 64)), '\0');
  file.read_at(0, head.data(), int64_t(head.size()));
  if (head.starts_with("version https://git-lfs"))
    fail("{}: is a Git LFS pointer, not the weights themselves: run `git lfs pull` in its folder.", file.where());
  if (head.starts_with("<!DOCTYPE") || head.starts_with("<!doctype") || head.starts_with("<html"))
    fail("{}: is a web page, not weights: the download was answered with an error page; fetch it again.", file.where());
}

std::vector<std::shared_ptr<File>> open_files(const fs::path& folder, const std::set<std::string>& names) {
  std::vector<std::shared_ptr<File>> files;
  int64_t bytes = 0;
  for (const std::string& name : names) {
    if (!is_there(folder / name)) fail("{}: the shard {} is missing; fetch the model again.", folder.string(), name);
    files.push_back(std::make_shared<File>(folder / name));
    refuse_lookalikes(*files.back());
    bytes += files.back()->size();
  }
  // Above half of the memory, the page cache would crowd out what is made of the weights.
  const bool large = bytes > system_memory().total_bytes / 2;
  for (const auto& file : files) {
    file->advise_sequential();
    if (large) file->drop_pages_behind();
  }
  return files;
}

void check_against_index(const std::map<std::string, std::string>& index, const std::vector<PlacedTensor>& tensors,
                         const std::string& where) {
  std::map<std::string_view, std::string> places;  // by the name in the file
  for (const PlacedTensor& tensor : tensors) places[tensor.stored.name] = tensor.file->name();
  for (const auto& [tensor, shard] : index) {
    const auto place = places.find(tensor);
    if (canonical_tensor_name(tensor).empty() || (place != places.end() && place->second == shard)) continue;
    fail("{}: names {} for tensor {}, but that file has no such tensor{}; fetch the model again.", where, shard,
         show(tensor), place == places.end() ? "" : " (" + place->second + " has it)");
  }
}

void refuse_duplicates(const std::vector<PlacedTensor>& tensors) {
  for (size_t i = 1; i < tensors.size(); ++i) {
    const PlacedTensor &a = tensors[i - 1], &b = tensors[i];
    if (a.name == b.name)
      fail("{}: tensor {} is there twice: as {} in {} and as {} in {}.", b.file->where(), show(b.name),
           show(a.stored.name), a.file->name(), show(b.stored.name), b.file->name());
  }
}

WeightFiles open_container(const fs::path& folder, const Container& container, const std::set<std::string>& names,
                           const std::map<std::string, std::string>* index) {
  WeightFiles weights;
  weights.container = container.name;
  for (const std::shared_ptr<File>& file : open_files(folder, names)) {
    for (StoredTensor& stored : container.read(*file)) {
      std::string name = canonical_tensor_name(stored.name);
      if (!name.empty()) weights.tensors.push_back({std::move(name), file, std::move(stored)});
    }
  }
  std::sort(weights.tensors.begin(), weights.tensors.end(),
            [](const PlacedTensor& a, const PlacedTensor& b) { return a.name < b.name; });
  refuse_duplicates(weights.tensors);
  if (index != nullptr) check_against_index(*index, weights.tensors, (folder / container.index).string());
  return weights;
}

// Files of safetensors under other names, such as AutoGPTQ's gptq_model-4bit-128g.safetensors, in their order.
std::vector<std::string> other_safetensors(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") && !name.starts_with(".") && !name.starts_with("consolidated"))
      names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

[[noreturn]] void fail_without_weights(const fs::path& folder) {
  std::string remedy = "fetch the model's model.safetensors, or its shards with model.safetensors.index.json";
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".gguf")) remedy = fmt::format("to use {}, give the path of that file", name);
    if (name.starts_with("consolidated"))
      remedy =
          fmt::format("{} is the authors' own layout: fetch the files in Hugging Face's (model*.safetensors)", name);
  }
  fail("{}: there are no weights (neither model.safetensors nor pytorch_model.bin, nor an index of shards); {}.",
       folder.string(), remedy);
}

}  // namespace

std::map<std::string, std::string> parse_weight_index(std::string_view text, const std::string& where) {
  const json index = parse_json(text, where);
  const JsonFields fields(index, where);
  const json* weight_map = fields.find("weight_map");
  if (weight_map == nullptr || !weight_map->is_object() || weight_map->empty())
    fields.refuse("weight_map", "a map from tensors to files is needed");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string())
      fail("{}: tensor {} has {} where the name of a file is needed.", where, show(tensor), show(shard));
    const std::string name = shard.get<std::string>();
    const bool plain = !name.empty() && name != "." && name != ".." &&
                       name.find_first_of("/\\:") == std::string::npos && name.find('\0') == std::string::npos;
    if (!plain) fail("{}: tensor {} lies in {}, which is not a file of this folder.", where, show(tensor), show(shard));
    shards[tensor] = name;
  }
  return shards;
}

WeightFiles open_weight_files(const fs::path& folder) {
  for (const Container& container : kContainers) {
    if (is_there(folder / container.single)) return open_container(folder, container, {container.single}, nullptr);
    const fs::path index_path = folder / container.index;
    if (!is_there(index_path)) continue;
    const auto index = parse_weight_index(read_text_file(index_path, kLargestIndex), index_path.string());
    std::set<std::string> names;
    for (const auto& [tensor, shard] : index) names.insert(shard);
    return open_container(folder, container, names, &index);
  }
  const std::vector<std::string> others = other_safetensors(folder);
  if (others.size() == 1) return open_container(folder, kContainers[0], {others[0]}, nullptr);
  if (others.size() > 1)
    fail(
        "{}: there is no model.safetensors or model.safetensors.index.json to say which of {} and {}{} are the "
        "weights; "
        "fetch the index of the shards, or leave one file there.",
        folder.string(), others[0], others[1], others.size() > 2 ? ", ..." : "");
  fail_without_weights(folder);
}

}  // namespace updraft::checkpoint
