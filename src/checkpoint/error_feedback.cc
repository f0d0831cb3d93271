#include "checkpoint/error_feedback.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/check.h"
#include "base/half.h"
#include "base/throwing_loop.h"

namespace updraft::checkpoint {
namespace {

constexpr double kDamping = 0.01;                               // of the mean diagonal: the paper's
constexpr float kShrinks[] = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f};  // of the scale that holds the largest weight

float widen(uint16_t bits, DType type) {
  return type == DType::kF16 ? to_float(half_t{bits}) : to_float(bfloat16_t{bits});
}
uint16_t narrow(float value, DType type) { return type == DType::kF16 ? to_half(value).bits : to_bfloat16(value).bits; }

// How one group rounds: w = scale * (u - zero).
struct Grid {
  float scale = 0, zero = 0, smallest = 0, largest = 0;

  float nearest(float w) const {
    return scale > 0 ? std::clamp(zero + std::nearbyint(w / scale), smallest, largest) : zero;
  }
  float value(float u) const { return scale * (u - zero); }
};

Grid grid_of(const QuantizedFormat& format, uint16_t scale, const uint16_t* offset) {
  Grid grid;
  grid.scale = widen(scale, format.scale_type);
  grid.zero = format.offset == Offset::kNone ? float(format.middle()) : widen(*offset, format.scale_type);
  grid.smallest = format.offset == Offset::kNone && format.bits == 8 ? 1.0f : 0.0f;
  grid.largest = float(format.largest());
  return grid;
}

// The upper R with H = R R^T, in place of H's upper triangle: from the last column to the first, each one's outer
// product taken from what is left of it.
void factor(std::vector<double>& h, int64_t n, ThreadTeam& team, FunctionRef<void(int64_t left)> tell) {
  std::vector<double> column(static_cast<size_t>(n));
  for (int64_t j = n - 1; j >= 0; --j) {
    const double pivot = std::sqrt(h[size_t(j * n + j)]);
    for (int64_t i = 0; i < j; ++i) column[size_t(i)] = h[size_t(i * n + j)] /= pivot;
    h[size_t(j * n + j)] = pivot;
    team.parallel_for(j, 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const double c = column[size_t(i)];
        double* row = h.data() + i * n;
        for (int64_t k = i; k < j; ++k) row[k] -= c * column[size_t(k)];
      }
    });
    tell(j);
  }
}

// Row j of U = R^-1, right of its diagonal and divided by it: x R = e_j.
void invert_row(const std::vector<double>& r, int64_t n, int64_t j, std::vector<double>& x, float* out) {
  std::fill(x.begin() + j, x.end(), 0.0);
  x[size_t(j)] = 1;
  for (int64_t k = j; k < n; ++k) {
    const double value = x[size_t(k)] /= r[size_t(k * n + k)];
    if (value == 0) continue;
    const double* row = r.data() + k * n;
    for (int64_t i = k + 1; i < n; ++i) x[size_t(i)] -= value * row[i];
  }
  for (int64_t k = 0; k < n; ++k) out[k] = k <= j ? 0.0f : float(x[size_t(k)] / x[size_t(j)]);
}

}  // namespace

ErrorFeedback::ErrorFeedback(std::vector<float> hessian, int64_t columns, ThreadTeam& team,
                             const std::function<void(double fraction)>& tell)
    : columns_(columns) {
  CHECK(int64_t(hessian.size()) == columns * columns) << hessian.size();
  std::vector<double> h(hessian.begin(), hessian.end());
  double mean = 0;
  for (int64_t i = 0; i < columns; ++i) mean += h[size_t(i * columns + i)] / double(columns);
  if (!(mean > 0 && std::isfinite(mean))) mean = 1;  // nothing is known of the inputs: plain rounding
  for (int64_t i = 0; i < columns; ++i) {
    double& diagonal = h[size_t(i * columns + i)];
    power_.push_back(float(diagonal + kDamping * mean));
    diagonal += kDamping * mean;
  }
  hessian = {};
  // Both take columns^3 / 6 multiply-adds.
  const auto told = [&](double fraction) {
    if (tell) tell(fraction);
  };
  factor(h, columns, team, [&](int64_t left) { told((1 - std::pow(double(left) / double(columns), 3)) / 2); });
  feedback_.resize(size_t(columns * columns));
  std::atomic<int64_t> inverted = 0;
  throwing_parallel_for(team, columns, 4, [&](int64_t begin, int64_t end, int member) {
    std::vector<double> x(static_cast<size_t>(columns));
    for (int64_t j = begin; j < end; ++j) invert_row(h, columns, j, x, feedback_.data() + j * columns);
    inverted += end - begin;
    if (member == 0)
      told(1 - std::pow(1 - double(inverted.load()) / double(columns), 3) / 2);  // the first rows are the longest
  });
  told(1);
}

void ErrorFeedback::choose_scale(const float* row, int64_t begin, int64_t end, const QuantizedFormat& format,
                                 uint16_t* scale, uint16_t* offset) const {
  QuantizedFormat one = format;
  one.group = int(end - begin);
  std::vector<uint8_t> unused(static_cast<size_t>(end - begin));
  uint16_t widest = 0, widest_offset = 0;
  quantize_row(row + begin, end - begin, one, unused.data(), &widest, &widest_offset);
  float least = INFINITY;
  for (const float shrink : kShrinks) {
    const uint16_t tried = narrow(widen(widest, format.scale_type) * shrink, format.scale_type);
    const Grid grid = grid_of(format, tried, &widest_offset);
    float error = 0;
    for (int64_t k = begin; k < end; ++k) {
      const float off = row[k] - grid.value(grid.nearest(row[k]));
      error += power_[size_t(k)] * off * off;
    }
    if (error >= least) continue;
    least = error;
    *scale = tried;
    if (offset != nullptr) *offset = widest_offset;
  }
}

void ErrorFeedback::quantize(float* weights, int64_t rows, const QuantizedFormat& format,
                             const QuantizedRows& out) const {
  const int64_t groups = format.groups(columns_);
  std::vector<Grid> grids(static_cast<size_t>(rows));
  for (int64_t j = 0; j < columns_; ++j) {
    const float* feedback = feedback_.data() + j * columns_;
    for (int64_t r = 0; r < rows; ++r) {
      float* row = weights + r * columns_;
      if (j % format.group == 0) {
        const int64_t g = r * groups + j / format.group;
        uint16_t* offset = format.offset == Offset::kNone ? nullptr : out.offsets + g;
        choose_scale(row, j, std::min(columns_, j + format.group), format, out.scales + g, offset);
        grids[size_t(r)] = grid_of(format, out.scales[g], offset);
      }
      const float u = grids[size_t(r)].nearest(row[j]);
      out.integers[r * columns_ + j] = uint8_t(u);
      const float error = row[j] - grids[size_t(r)].value(u);
      if (error == 0) continue;
      for (int64_t k = j + 1; k < columns_; ++k) row[k] -= error * feedback[k];
    }
  }
}

}  // namespace updraft::checkpoint
