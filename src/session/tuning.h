// The results of `updraft tune`: one small JSON file per machine and shape of model. A result counts only for the
// program's version, processor, number of threads and shape that it was measured with; anything else, and a damaged
// file, is as if there were none: defaults are always right, only perhaps slower.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"
#include "compute/machine.h"
#include "compute/tuning.h"
#include "compute/weight.h"

namespace updraft::session {

struct TunedFor {
  std::string version;
  std::string processor;
  std::string path;  // instruction set
  int threads = 0;
  std::string shape;  // "hidden=4096 intermediate=14336 heads=32/8x128 vocabulary=32000 weights=int4-g32-asym, head
                      // int8": not the layers
  bool operator==(const TunedFor&) const = default;
};
TunedFor tuned_for(const checkpoint::ModelConfig&, const compute::MachineInfo&, std::string_view packings);

nlohmann::ordered_json tuning_json(const compute::Tuning&);
std::string tuning_path(const std::string& folder, const TunedFor&);
// Nothing: there is none, it is of another machine, shape or version, or it is damaged.
std::optional<compute::Tuning> read_tuning(const std::string& folder, const TunedFor&);
// The shapes, with their paths and threads, that were tuned with this version on this processor.
std::vector<std::string> tuned_shapes(const std::string& folder);
// Makes the folder; throws Error when nothing can be written to it.
void make_tuning_folder(const std::string& folder);
// Replaces the file at once; makes the folder. `measured`: JSON text kept beside the settings. Throws Error.
void write_tuning(const std::string& folder, const TunedFor&, const compute::Tuning&, const std::string& measured);

}  // namespace updraft::session
