#include "cli/event_stream.h"

#include <algorithm>

namespace updraft::cli {

void EventStream::push(std::string_view bytes) {
  for (char c : bytes) {
    const bool second_half = c == '\n' && after_return_;  // of \r\n, also when a piece ends between the two
    after_return_ = c == '\r';
    if (second_half) continue;
    if (c == '\n' || c == '\r')
      end_of_line();
    else
      line_ += c;
  }
}

void EventStream::finish() {
  if (!line_.empty()) end_of_line();
  end_of_event();
}

void EventStream::end_of_line() {
  std::string_view line = line_;
  if (line.empty()) {
    end_of_event();
    return;
  }
  constexpr std::string_view kField = "data";
  if (line.starts_with(kField) && (line.size() == kField.size() || line[kField.size()] == ':')) {
    line.remove_prefix(std::min(line.size(), kField.size() + 1));
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += line;
    has_data_ = true;
  }
  line_.clear();
}

void EventStream::end_of_event() {
  if (has_data_) on_event_(data_);
  data_.clear();
  has_data_ = false;
}

}  // namespace updraft::cli
