#include "cli/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "cli/terminal.h"

namespace updraft::cli {

struct LineEditor::Impl {
  EditLine* edit = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string history_file, prompt;

  static char* show_prompt(EditLine* edit) {
    Impl* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return self->prompt.data();
  }
};

LineEditor::LineEditor(std::string history_file) : impl_(std::make_unique<Impl>()) {
  if (isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1) return;
  // The terminal's own encoding; a bare "C" locale would cut wide characters into bytes.
  if (!std::setlocale(LC_CTYPE, "") || std::strcmp(std::setlocale(LC_CTYPE, nullptr), "C") == 0)
    std::setlocale(LC_CTYPE, "C.UTF-8");
  Impl& self = *impl_;
  self.history_file = std::move(history_file);
  self.edit = el_init("updraft", stdin, stdout, stderr);
  self.history = history_init();
  if (!self.edit || !self.history) return;
  el_set(self.edit, EL_CLIENTDATA, &self);
  el_set(self.edit, EL_PROMPT, &Impl::show_prompt);
  el_set(self.edit, EL_EDITOR, "emacs");
  el_set(self.edit, EL_SIGNAL, 0);
  el_set(self.edit, EL_HIST, history, self.history);
  el_set(self.edit, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  history(self.history, &self.event, H_SETSIZE, 1000);
  history(self.history, &self.event, H_SETUNIQUE, 1);
  if (!self.history_file.empty()) history(self.history, &self.event, H_LOAD, self.history_file.c_str());
  el_source(self.edit, nullptr);  // the user's ~/.editrc
}

LineEditor::~LineEditor() {
  Impl& self = *impl_;
  if (self.history && !self.history_file.empty()) {
    std::error_code ignored;  // a history that cannot be kept is no reason to fail
    std::filesystem::create_directories(std::filesystem::path(self.history_file).parent_path(), ignored);
    history(self.history, &self.event, H_SAVE, self.history_file.c_str());
  }
  if (self.history) history_end(self.history);
  if (self.edit) el_end(self.edit);
}

bool LineEditor::editing() const { return impl_->edit != nullptr; }

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  Impl& self = *impl_;
  std::string line;
  if (!self.edit) {
    if (!std::getline(std::cin, line)) return std::nullopt;
    if (line.ends_with('\r')) line.pop_back();  // a script written on Windows
    return line;
  }
  self.prompt = prompt;
  int length = 0;
  const char* text = el_gets(self.edit, &length);
  if (!text || length <= 0) {
    std::fputc('\n', stdout);
    if (!interrupted()) return std::nullopt;  // Ctrl-D
    el_reset(self.edit);
    return std::string();
  }
  line.assign(text, size_t(length));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return line;
}

void LineEditor::remember(const std::string& entry) {
  if (impl_->history && !entry.empty()) history(impl_->history, &impl_->event, H_ENTER, entry.c_str());
}

}  // namespace updraft::cli
