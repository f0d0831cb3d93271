// The tasks of the benchmark: the article's five, word for word, and one that asks for a text to be edited, whose
// answer mostly repeats the prompt: what speculation is for. It runs only when it is asked for by its name.
#pragma once

#include <span>
#include <string_view>

namespace updraft::measure {

struct Task {
  std::string_view id;       // "chinese_qa"
  std::string_view chinese;  // the article's name
  std::string_view english;
  std::string_view prompt;  // what the user says
};
std::span<const Task> article_tasks();
std::span<const Task> all_tasks();  // and "edit"

}  // namespace updraft::measure
