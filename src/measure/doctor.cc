#include "measure/doctor.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/system_memory.h"
#include "base/thread_team.h"
#include "checkpoint/checkpoint.h"
#include "compute/probe.h"
#include "measure/disk_probe.h"
#include "measure/local_target.h"
#include "measure/report_rows.h"
#include "session/memory_plan.h"
#include "session/tuning.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

// The folder, or the nearest above it that is there, which is the same disk: looking makes no folder.
fs::path nearest_folder(const fs::path& folder) {
  std::error_code ignored;
  fs::path place = fs::absolute(folder, ignored);
  while (!fs::is_directory(place, ignored) && place.has_relative_path()) place = place.parent_path();
  return place;
}

class Doctor {
 public:
  Doctor(const DoctorOptions& options, const ProgressCallback& progress) : options_(options), progress_(progress) {}

  Diagnosis run() {
    processor();
    processors();
    memory();
    huge_pages();
    accelerator("nvidia", "NVIDIA GPU", "/dev/nvidia0", "libcuda.so.1");
    accelerator("ascend", "Ascend NPU", "/dev/davinci0", "libascendcl.so");
    if (options_.measure) rates();
    disk();
    tuning();
    if (!options_.model.empty()) model();
    return std::move(out_);
  }

 private:
  // Work that cannot say how far it is.
  void stage(const char* what) const {
    if (progress_) progress_({what, 0, 0, "stages"});
  }
  void add(Finding finding) { out_.findings.push_back(std::move(finding)); }

  // Which shapes of model were tuned on this processor, with this version.
  void tuning() {
    const std::vector<std::string> shapes = session::tuned_shapes(options_.tuning_folder);
    out_.figures["tuning"] = shapes.empty() ? "default" : "file";
    out_.figures["tuned_shapes"] = shapes;
    if (shapes.empty())
      add({Level::kOk, "tuning", "tuning: default (`updraft tune MODEL` looks for faster settings)",
           "调优: 默认 (`updraft tune MODEL` 寻找更快的设置)", "", ""});
    else
      add({Level::kOk, "tuning", fmt::format("tuning: file, for {}", fmt::join(shapes, "; ")),
           fmt::format("调优: 文件, 适用于 {}", fmt::join(shapes, "; ")), "", ""});
  }

  void processor() {
    const std::vector<std::string> sets = compute::instruction_sets();
    out_.figures["processor"] = compute::processor_name();
    out_.figures["instruction_sets"] = sets;
    if (sets.empty()) {
      add({Level::kProblem, "processor", compute::processor_name() + " has no AVX2 with FMA and F16C",
           compute::processor_name() + " 没有 AVX2、FMA 与 F16C 指令集",
           "run on an x86-64 processor from 2013 on, or on AArch64", "请使用 2013 年之后的 x86-64 处理器或 AArch64"});
      return;
    }
    add({Level::kOk, "processor",
         fmt::format("{}; uses {} (has {})", compute::processor_name(), sets.back(), fmt::join(sets, ", ")),
         fmt::format("{}; 使用 {} (支持 {})", compute::processor_name(), sets.back(), fmt::join(sets, ", ")), "", ""});
  }

  void processors() {
    const int usable = available_processors(), all = int(std::thread::hardware_concurrency());
    out_.figures["processors"] = usable;
    Finding f{Level::kOk,
              "processors",
              fmt::format("{} of {} processors may be used", usable, std::max(all, usable)),
              fmt::format("可用 {} / {} 个处理器", usable, std::max(all, usable)),
              "",
              ""};
    if (usable < all) {
      f.level = Level::kNote;
      f.remedy_english =
          "the affinity mask or the cgroup's CPU quota limits this process; start the container with more (docker run "
          "--cpus)";
      f.remedy_chinese = "进程受亲和性或 cgroup CPU 配额限制; 启动容器时给更多处理器 (docker run --cpus)";
    }
    add(std::move(f));
  }

  void memory() {
    const SystemMemory m = system_memory();
    out_.figures["memory_total_bytes"] = m.total_bytes;
    out_.figures["memory_available_bytes"] = m.available_bytes;
    Finding f{
        Level::kOk,
        "memory",
        fmt::format("{} of {} are free", gigabytes(double(m.available_bytes)), gigabytes(double(m.total_bytes))),
        fmt::format("内存 {} 可用, 共 {}", gigabytes(double(m.available_bytes)), gigabytes(double(m.total_bytes))),
        "",
        ""};
    if (m.available_bytes < int64_t(2) << 30) {
      f.level = Level::kProblem;
      f.remedy_english = "close other programs, or raise the container's memory limit (docker run --memory)";
      f.remedy_chinese = "关闭其他程序, 或提高容器内存上限 (docker run --memory)";
    }
    add(std::move(f));
  }

  void huge_pages() {
    std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");
    std::string line;
    std::getline(in, line);
    const bool never = line.find("[never]") != std::string::npos || line.empty();
    out_.figures["transparent_huge_pages"] = line;
    Finding f{
        never ? Level::kNote : Level::kOk,
        "huge_pages",
        never ? "2 MiB pages are switched off: loading and decoding are slower" : "2 MiB pages are granted on request",
        never ? "2 MiB 大页已关闭: 加载与解码会变慢" : "可按需使用 2 MiB 大页",
        "",
        ""};
    if (never) {
      f.remedy_english = "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
      f.remedy_chinese = "以 root 执行: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
    }
    add(std::move(f));
  }

  // Present, or the reason it is not usable. This build computes on the CPU; it says so rather than pretend.
  void accelerator(const char* id, const char* name, const char* device, const char* library) {
    const bool present = fs::exists(device);
    void* handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
    const bool driver = handle != nullptr;
    if (handle) dlclose(handle);
    out_.figures["accelerators"][id] = {{"device", present}, {"library", driver}, {"usable", false}};
    if (!present) {
      add({Level::kOk, id, fmt::format("{}: none here ({} does not exist)", name, device),
           fmt::format("{}: 未发现 ({} 不存在)", name, device), "", ""});
      return;
    }
    add({Level::kNote, id,
         fmt::format("{}: a device is present{}, but this version of Updraft computes on the CPU only", name,
                     driver ? "" : " without its library"),
         fmt::format("{}: 发现设备{}, 但此版本 Updraft 仅在 CPU 上计算", name, driver ? "" : ", 但缺少其运行库"),
         driver ? "nothing to do: the CPU is used"
                : fmt::format("{} could not be opened; install the driver for a later version", library),
         driver ? "无需处理: 使用 CPU" : fmt::format("无法打开 {}; 请为后续版本安装驱动", library)});
  }

  void rates() {
    const int all = options_.threads > 0 ? options_.threads : available_processors();
    ordered_json by_threads = ordered_json::array();
    constexpr int64_t kQuickBytes = int64_t(1) << 30;
    std::vector<int> counts;
    for (int n = 1; n < all; n *= 2) counts.push_back(n);
    for (int n : counts)
      by_threads.push_back({{"threads", n},
                            {"read_bandwidth_bytes_per_second",
                             compute::probe_read_bandwidth(n, progress_, kQuickBytes).bytes_per_second}});
    bandwidth_ = compute::probe_read_bandwidth(all, progress_).bytes_per_second;
    by_threads.push_back({{"threads", all}, {"read_bandwidth_bytes_per_second", bandwidth_}});
    out_.figures["read_bandwidth"] = by_threads;
    std::string list;
    for (const ordered_json& row : by_threads)
      list += fmt::format("{}{}/s x{}", list.empty() ? "" : ", ",
                          gigabytes(row["read_bandwidth_bytes_per_second"].get<double>()), row["threads"].get<int>());
    add({Level::kOk, "read_bandwidth", "reads memory at " + list + " threads", "内存读带宽 " + list + " 线程", "", ""});

    stage("measuring arithmetic peaks");
    std::string peaks;
    for (const int threads : counts.empty() ? std::vector<int>{all} : std::vector<int>{1, all})
      for (const compute::Peak& peak : compute::probe_peaks(threads)) {
        out_.figures["peaks"].push_back(
            {{"name", peak.name}, {"unit", peak.unit}, {"threads", threads}, {"per_second", peak.per_second}});
        if (threads != all) continue;
        peaks += peaks.empty() ? "" : ", ";
        peaks += peak.per_second > 0 ? fmt::format("{} {:.3g} G{}", peak.name, peak.per_second / 1e9, peak.unit)
                                     : peak.name + " none";
      }
    add({Level::kOk, "peaks", fmt::format("peaks with {} threads: {}", all, peaks),
         fmt::format("{} 线程峰值: {}", all, peaks), "", ""});

    stage("measuring first touch and copies");
    const compute::MemoryRates r = compute::probe_memory_rates(all);
    out_.figures["first_touch_bytes_per_second"] = r.first_touch_bytes_per_second;
    out_.figures["first_touch_huge_pages_bytes_per_second"] = r.first_touch_huge_bytes_per_second;
    out_.figures["copy_bytes_per_second"] = r.copy_bytes_per_second;
    add({Level::kOk, "memory_rates",
         fmt::format("first touch {}/s in 4 KiB pages, {}/s in 2 MiB pages; copies {}/s",
                     gigabytes(r.first_touch_bytes_per_second), gigabytes(r.first_touch_huge_bytes_per_second),
                     gigabytes(r.copy_bytes_per_second)),
         fmt::format("首次触页 {}/s (4 KiB 页), {}/s (2 MiB 页); 复制 {}/s", gigabytes(r.first_touch_bytes_per_second),
                     gigabytes(r.first_touch_huge_bytes_per_second), gigabytes(r.copy_bytes_per_second)),
         "", ""});
  }

  void disk() {
    if (options_.measure) stage("measuring the disk");
    const DiskProbe probe = probe_disk(nearest_folder(options_.disk_folder), options_.measure ? int64_t(512) << 20 : 0);
    out_.figures["disk"] = {{"folder", options_.disk_folder}, {"free_bytes", probe.free_bytes}};
    constexpr int64_t kMistralBytes = 15'000'000'000;
    Finding f{Level::kOk,
              "disk",
              fmt::format("{} free under {}", gigabytes(double(probe.free_bytes)), options_.disk_folder),
              fmt::format("{} 剩余空间 {}", options_.disk_folder, gigabytes(double(probe.free_bytes))),
              "",
              ""};
    if (options_.measure && probe.read_bytes_per_second > 0) {
      out_.figures["disk"]["read_bytes_per_second"] = probe.read_bytes_per_second;
      out_.figures["disk"]["write_bytes_per_second"] = probe.write_bytes_per_second;
      f.english += fmt::format("; reads {}/s, writes {}/s", gigabytes(probe.read_bytes_per_second),
                               gigabytes(probe.write_bytes_per_second));
      f.chinese += fmt::format("; 读 {}/s, 写 {}/s", gigabytes(probe.read_bytes_per_second),
                               gigabytes(probe.write_bytes_per_second));
    }
    if (!probe.problem.empty()) {
      f.level = Level::kNote;
      f.english += "; not measured: " + probe.problem, f.chinese += "; 未能测速: " + probe.problem;
      f.remedy_english = "measure a folder that can be written and has 1 GB free (--disk /path, UPDRAFT_CACHE=/path)";
      f.remedy_chinese = "请指定可写且有 1 GB 空间的目录 (--disk /path, UPDRAFT_CACHE=/path)";
    }
    if (probe.free_bytes < kMistralBytes) {
      f.level = Level::kNote;
      f.remedy_english = "Mistral-7B in 16 bit takes 15 GB: free space, or keep models elsewhere (UPDRAFT_CACHE=/path)";
      f.remedy_chinese = "16 位的 Mistral-7B 约需 15 GB: 请清理空间或改用其他目录 (UPDRAFT_CACHE=/path)";
    }
    add(std::move(f));
  }

  void model() {
    checkpoint::ModelConfig config;
    DType natural = DType::kBF16;
    std::unique_ptr<checkpoint::Checkpoint> opened;
    try {
      if (fs::exists(options_.model)) {
        opened = checkpoint::open_checkpoint(options_.model);
        config = opened->config(), natural = opened->natural_dtype();
      } else {
        std::string known = options_.model;
        std::transform(known.begin(), known.end(), known.begin(),
                       [](unsigned char c) { return char(std::tolower(c)); });
        config = checkpoint::parse_synthetic(known).config;
      }
    } catch (const std::exception& e) {
      const bool there = fs::exists(options_.model);
      add({Level::kProblem, "model", e.what(), e.what(),
           there ? "fetch the file that it names again (updraft pull verifies each)"
                 : "give a model folder, a .gguf file or a known name",
           there ? "请重新下载其中指出的文件 (updraft pull 会逐一校验)" : "请给出模型目录、.gguf 文件或已知名称"});
      return;
    }
    const int64_t available = system_memory().available_bytes;
    const bool as_integers = opened != nullptr && std::any_of(opened->tensors().begin(), opened->tensors().end(),
                                                              [](const auto& t) { return t.integers.has_value(); });
    const model::WeightChoice automatic, as_stored{natural, {}};
    std::vector<model::WeightChoice> choices = session::usual_choices();
    if (as_integers) choices.insert(choices.begin(), automatic);
    bool any = false, any_resident = false, natural_fits = false;
    std::string english, chinese, first_that_fits;
    for (const model::WeightChoice& choice : choices) {
      const session::MemoryPlan plan =
          session::plan_memory(config, opened.get(), natural, choice, compute::KvType::kF16, options_.context);
      const bool fits = plan.total_bytes <= available, is_natural = choice == (as_integers ? automatic : as_stored);
      any = any || fits;
      natural_fits = natural_fits || (fits && is_natural);
      if (fits && first_that_fits.empty()) first_that_fits = name(choice);
      ordered_json figure = {{"weights_bytes", plan.weights_bytes},
                             {"kv_bytes", plan.kv_bytes},
                             {"total_bytes", plan.total_bytes},
                             {"fits", fits},
                             {"natural", is_natural},
                             {"cache_resident", cache_resident(plan.streamed_bytes)}};
      std::string most_english, most_chinese;
      if (cache_resident(plan.streamed_bytes)) {
        most_english = "cache-resident", most_chinese = "缓存驻留", any_resident = true;
      } else if (bandwidth_ > 0) {
        const double most = bandwidth_ / double(plan.streamed_bytes);
        figure["ceiling_tokens_per_second"] = most;
        most_english = fmt::format("at most {:.3g} tok/s", most), most_chinese = fmt::format("至多 {:.3g} tok/s", most);
      }
      out_.figures["model"]["packings"][name(choice)] = figure;
      const std::string needs =
          fmt::format("\n          {:<5} {:>9}", name(choice), gigabytes(double(plan.total_bytes)));
      english += fmt::format("{}  {:<12}  {:<18} {}", needs, fits ? "fits" : "does not fit", most_english,
                             is_natural ? "(as stored)" : "");
      chinese += fmt::format("{}  {}  {:<18} {}", needs, fits ? "放得下" : "放不下", most_chinese,
                             is_natural ? "(按存储类型)" : "");
      for (std::string* text : {&english, &chinese}) text->erase(text->find_last_not_of(' ') + 1);
    }
    if (any_resident) {
      english +=
          "\n          cache-resident: the weights are under twice the last-level cache, so memory bandwidth sets no "
          "limit";
      chinese += "\n          缓存驻留: 权重不足末级缓存的两倍, 内存带宽不构成上限";
    }
    out_.figures["model"]["name"] = options_.model;
    out_.figures["model"]["context"] = options_.context;
    Finding f{natural_fits ? Level::kOk
              : any        ? Level::kNote
                           : Level::kProblem,
              "model",
              fmt::format("{} with {} tokens of context (weights + KV in f16 + 300 MB):{}", options_.model,
                          options_.context, english),
              fmt::format("{}, 上下文 {} 词元 (权重 + f16 KV + 300 MB):{}", options_.model, options_.context, chinese),
              "",
              ""};
    if (any && !natural_fits) {
      f.remedy_english =
          fmt::format("as it is stored the model does not fit: load it with --dtype {}", first_that_fits);
      f.remedy_chinese = fmt::format("按存储类型放不下: 请用 --dtype {} 加载", first_that_fits);
    } else if (!any) {
      f.remedy_english =
          fmt::format("{} are free: use a smaller model, a shorter --context, or a machine with more memory",
                      gigabytes(double(available)));
      f.remedy_chinese =
          fmt::format("可用内存 {}: 请用更小的模型、更短的 --context 或更大内存的机器", gigabytes(double(available)));
    }
    add(std::move(f));
  }

  const DoctorOptions& options_;
  const ProgressCallback& progress_;
  Diagnosis out_;
  double bandwidth_ = 0;
};

}  // namespace

bool Diagnosis::ready() const {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.level == Level::kProblem; });
}

Diagnosis diagnose(const DoctorOptions& options, const ProgressCallback& progress) {
  return Doctor(options, progress).run();
}

std::string diagnosis_text(const Diagnosis& diagnosis, Language language, bool colour) {
  const bool chinese = language == Language::kChinese;
  const auto mark = [&](Level level) -> std::string {
    const char* text = level == Level::kOk ? "ok  " : level == Level::kNote ? "note" : "FAIL";
    const char* code = level == Level::kOk ? "32" : level == Level::kNote ? "33" : "31";
    return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
  };
  std::string out;
  for (const Finding& f : diagnosis.findings) {
    out += fmt::format("{}  {}\n", mark(f.level), chinese ? f.chinese : f.english);
    const std::string& remedy = chinese ? f.remedy_chinese : f.remedy_english;
    if (!remedy.empty()) out += fmt::format("        -> {}\n", remedy);
  }
  const bool ready = diagnosis.ready();
  if (chinese) return out + (ready ? "就绪。\n" : "未就绪: 请先处理上面标有 FAIL 的项目。\n");
  return out + (ready ? "Ready.\n" : "Not ready: see the lines marked FAIL.\n");
}

ordered_json diagnosis_json(const Diagnosis& diagnosis, Language language) {
  constexpr const char* kLevels[] = {"ok", "note", "problem"};
  const bool chinese = language == Language::kChinese;
  ordered_json findings = ordered_json::array();
  for (const Finding& f : diagnosis.findings)
    findings.push_back({{"level", kLevels[int(f.level)]},
                        {"id", f.id},
                        {"text", chinese ? f.chinese : f.english},
                        {"remedy", chinese ? f.remedy_chinese : f.remedy_english}});
  return {{"ready", diagnosis.ready()}, {"findings", findings}, {"figures", diagnosis.figures}};
}

}  // namespace updraft::measure
