// Selection: which files of a repository are needed to run the model. Weights come once: safetensors if there are any,
// else .bin, else one .gguf; never both, never Meta's or Mistral's own consolidated copies.
#pragma once

#include <string>
#include <vector>

#include "hub/listing.h"

namespace updraft::hub {

struct Selection {
  std::vector<RemoteFile> files;  // small ones first, then weights in order
  int64_t bytes = 0;
  std::vector<RemoteFile> skipped;
  int64_t skipped_bytes = 0;
};

// With `include` the patterns decide instead of the default set; `exclude` always takes away.
// Throws HubError kNoFile when nothing is left.
Selection select(const Listing&, const std::vector<std::string>& include, const std::vector<std::string>& exclude);

// "skipped 12 files (14.5 GB): pytorch_model-00001-of-00003.bin, ...; --include PATTERN gets them", or "".
std::string describe_skipped(const Selection&);

}  // namespace updraft::hub
