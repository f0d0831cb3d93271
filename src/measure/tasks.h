// The article's five tasks, word for word.
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

}  // namespace updraft::measure
