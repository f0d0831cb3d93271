// Doctor: is this machine ready, what can it do at most, and what would a model need and reach on it. Every problem
// comes with its remedy, in English and Chinese.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/progress.h"
#include "measure/report.h"

namespace updraft::measure {

struct DoctorOptions {
  std::string model;        // a folder, a .gguf, or a known name such as Mistral-7B; empty: the machine only
  std::string disk_folder;  // where models are kept: its space and speed are measured
  int threads = 0;
  int64_t context = 4096;
  std::string tuning_folder;  // where `updraft tune` keeps its results
  bool measure = true;        // false: look, but time nothing
};

enum class Level { kOk, kNote, kProblem };

struct Finding {
  Level level = Level::kOk;
  std::string id;                              // "cpu", "huge_pages", "memory", "nvidia", ...
  std::string english, chinese;                // what is the case
  std::string remedy_english, remedy_chinese;  // for notes and problems
};

struct Diagnosis {
  std::vector<Finding> findings;
  nlohmann::ordered_json figures;  // every measured number, in the field's terms with units
  bool ready() const;              // no problem
};

Diagnosis diagnose(const DoctorOptions&, const ProgressCallback&);

std::string diagnosis_text(const Diagnosis&, Language, bool colour);
nlohmann::ordered_json diagnosis_json(const Diagnosis&, Language);

}  // namespace updraft::measure
