#include "hub/selection.h"

#include <algorithm>

#include "hub/hub_error.h"
#include "hub/names.h"

namespace updraft::hub {
namespace {

std::string human(int64_t bytes) {
  const double n = double(bytes);
  return n >= 1e9   ? fmt::format("{:.3g} GB", n / 1e9)
         : n >= 1e6 ? fmt::format("{:.3g} MB", n / 1e6)
                    : fmt::format("{} bytes", bytes);
}

const std::vector<std::string> kSmallFiles = {"config.json",
                                              "generation_config.json",
                                              "tokenizer*",
                                              "special_tokens_map.json",
                                              "chat_template*",
                                              "added_tokens.json",
                                              "vocab.json",
                                              "merges.txt",
                                              "tekken.json",
                                              "quantize_config.json",
                                              "quant_config.json",
                                              "params.json",
                                              "preprocessor_config.json",
                                              "additional_chat_templates/*",
                                              "LICENSE*"};
const std::vector<std::string> kNever = {"consolidated*", "*.pth", "original/*"};

enum class Weights { kSafetensors, kBin, kGguf, kNone };

bool in_folder(const std::string& path) { return path.find('/') != std::string::npos; }

bool is_weight(const std::string& path, Weights kind) {
  if (matches_any(kNever, path)) return false;
  switch (kind) {
    case Weights::kSafetensors:
      return !in_folder(path) && matches_any({"*.safetensors", "*.safetensors.index.json"}, path);
    case Weights::kBin:
      return !in_folder(path) && matches_any({"pytorch_model*.bin", "pytorch_model*.bin.index.json"}, path);
    case Weights::kGguf:
      return path.ends_with(".gguf");
    case Weights::kNone:
      return false;
  }
  return false;
}

Weights weights_of(const Listing& listing) {
  for (Weights kind : {Weights::kSafetensors, Weights::kBin, Weights::kGguf})
    for (const RemoteFile& file : listing.files)
      if (is_weight(file.path, kind)) return kind;
  return Weights::kNone;
}

}  // namespace

Selection select(const Listing& listing, const std::vector<std::string>& include,
                 const std::vector<std::string>& exclude) {
  const Weights kind = weights_of(listing);
  int64_t ggufs = 0;
  if (kind == Weights::kGguf && include.empty())
    ggufs = std::count_if(listing.files.begin(), listing.files.end(), [&](const RemoteFile& file) {
      return is_weight(file.path, kind) && !matches_any(exclude, file.path);
    });
  if (ggufs > 1)
    refuse(Refusal::kNoFile,
           "this repository holds {} .gguf files, which are the same weights in several precisions: choose one with "
           "--include, as in --include '*Q8_0.gguf'",
           ggufs);
  Selection selection;
  for (const RemoteFile& file : listing.files) {
    const bool wanted = include.empty()
                            ? (!in_folder(file.path) || file.path.starts_with("additional_chat_templates/") ||
                               kind == Weights::kGguf) &&
                                  (matches_any(kSmallFiles, file.path) || is_weight(file.path, kind))
                            : matches_any(include, file.path);
    if (wanted && !matches_any(exclude, file.path)) {
      selection.files.push_back(file);
      selection.bytes += std::max<int64_t>(0, file.size);
    } else {
      selection.skipped.push_back(file);
      selection.skipped_bytes += std::max<int64_t>(0, file.size);
    }
  }
  if (selection.files.empty())
    refuse(Refusal::kNoFile,
           "none of the {} files of this repository is asked for: --include and --exclude leave nothing{}",
           listing.files.size(), include.empty() ? ", or it holds no model" : "");
  constexpr int64_t kSmall = 1 << 20;
  std::stable_sort(selection.files.begin(), selection.files.end(), [](const RemoteFile& a, const RemoteFile& b) {
    const bool large_a = a.size > kSmall, large_b = b.size > kSmall;
    return large_a != large_b ? !large_a : a.path < b.path;
  });
  return selection;
}

std::string describe_skipped(const Selection& selection) {
  if (selection.skipped.empty()) return "";
  std::vector<RemoteFile> files = selection.skipped;
  std::stable_sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.size > b.size; });
  std::string names;
  for (size_t i = 0; i < std::min<size_t>(files.size(), 4); ++i) names += (i ? ", " : "") + files[i].path;
  if (files.size() > 4) names += ", ...";
  return fmt::format("skipped {} file{} ({}) that running the model does not need: {}; --include PATTERN gets them",
                     files.size(), files.size() == 1 ? "" : "s", human(selection.skipped_bytes), names);
}

}  // namespace updraft::hub
