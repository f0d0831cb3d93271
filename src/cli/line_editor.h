// LineEditor: one line of input at a time. On a terminal with libedit's editing and history (UTF-8, wide characters);
// from a pipe plain lines.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace updraft::cli {

class LineEditor {
 public:
  // History is read from and kept in `history_file` (empty: nowhere).
  explicit LineEditor(std::string history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // The line without its newline; nothing at the end of input. Ctrl-C gives an empty line and sets interrupted().
  std::optional<std::string> read(const std::string& prompt);
  void remember(const std::string& entry);  // adds to the history
  bool editing() const;                     // standard input and output are a terminal

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace updraft::cli
