// EventStream: takes a server-sent event stream apart (WHATWG HTML, section 9.2), however the network cut it: the bytes
// of a line, even of one character, may come in any number of pieces. Only the data of events is kept.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace updraft::cli {

class EventStream {
 public:
  explicit EventStream(std::function<void(std::string_view data)> on_event) : on_event_(std::move(on_event)) {}

  void push(std::string_view bytes);
  void finish();  // the stream ended: a last event without its empty line counts, as servers do forget it

 private:
  void end_of_line();
  void end_of_event();

  std::function<void(std::string_view)> on_event_;
  std::string line_, data_;
  bool has_data_ = false, after_return_ = false;
};

}  // namespace updraft::cli
