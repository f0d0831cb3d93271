// updraft doctor: is this machine ready, what is its measured ceiling, and what would a model reach on it.
#include "measure/doctor.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/environment.h"
#include "cli/hub_options.h"
#include "cli/terminal.h"

namespace updraft::cli {

void add_doctor(CLI::App& app, int& exit_code) {
  struct Options {
    measure::DoctorOptions doctor;
    std::string language;
    bool json = false, quick = false, offline = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("doctor", "Is this machine ready, and what is its measured ceiling");
  command->add_option("MODEL", options->doctor.model,
                      "Also judge this model: a folder, a .gguf, or a known name such as Mistral-7B");
  add_offline_flag(*command, options->offline);
  command->add_option("--threads", options->doctor.threads, "Measure with so many threads (0: all)")
      ->check(CLI::Range(0, 4096));
  command->add_option("--context", options->doctor.context, "Context to plan memory for")
      ->capture_default_str()
      ->check(CLI::Range(int64_t(1), kLongestContext));
  command->add_option("--disk", options->doctor.disk_folder,
                      "Measure the disk under this folder (default: where models are kept)");
  command->add_flag("--quick", options->quick, "Look, but measure nothing");
  command->add_option("--lang", options->language, "en, zh (default: the system's)")
      ->check(CLI::IsMember({"en", "zh"}));
  command->add_flag("--json", options->json, "One JSON object with every figure");
  command->footer(
      "Exit code 0: ready; 3: not ready.\nExamples:\n  updraft doctor\n  updraft doctor Mistral-7B --context 32768");
  command->callback([options, &exit_code] {
    measure::DoctorOptions& doctor = options->doctor;
    doctor.measure = !options->quick;
    if (!doctor.model.empty()) doctor.model = resolve_model(doctor.model, options->offline);
    doctor.tuning_folder = tuning_folder();
    if (doctor.disk_folder.empty()) doctor.disk_folder = environment().cache_folder;
    const bool chinese = options->language.empty() ? environment().chinese : options->language == "zh";
    const auto language = chinese ? measure::Language::kChinese : measure::Language::kEnglish;
    ProgressBar bar;
    const measure::Diagnosis diagnosis = measure::diagnose(doctor, [&](const Progress& p) {
      stop_if_interrupted();
      bar.show(p);
    });
    bar.finish();
    if (options->json)
      fmt::print("{}\n", measure::diagnosis_json(diagnosis, language)
                             .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    else
      fmt::print("{}", measure::diagnosis_text(diagnosis, language, stdout_is_terminal() && !environment().no_color));
    exit_code = diagnosis.ready() ? kSuccess : kNotReady;
  });
}

}  // namespace updraft::cli
