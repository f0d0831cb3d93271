// The roofline of a run record: where each phase stands under what this machine was measured to do. The report draws
// it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "measure/report.h"

namespace updraft::measure {

struct RooflinePoint {
  std::string label;
  double intensity = 0, speed = 0;  // operations per byte read, operations per second; a multiply-add is two
};

struct Roofline {
  double bandwidth = 0;       // bytes per second; 0: not measured
  double peak = 0;            // operations per second of the arithmetic that ran; 0: not measured
  std::string unit = "FLOP";  // "OP" for integers
  std::vector<RooflinePoint> points;
};

Roofline roofline(const nlohmann::ordered_json& record, Language);

}  // namespace updraft::measure
