#include "measure/tasks.h"

namespace updraft::measure {

std::span<const Task> all_tasks() {
  static constexpr Task kTasks[] = {
      {"chinese_qa", "中文问答", "Chinese Q&A", "简要介绍量子计算的基本原理及其潜在应用。"},
      {"english_qa", "英文问答", "English Q&A", "What is the difference between supervised and unsupervised learning?"},
      {"code", "代码生成", "Code generation",
       "Write a Python function that checks if a string is a palindrome using recursion."},
      {"logic", "逻辑推理", "Logical reasoning",
       "If Alice is older than Bob, and Bob is older than Charlie, who is the youngest? Explain step by step."},
      {"long_context", "长上下文理解", "Long context",
       "以下是一段关于气候变化的摘要:全球气温在过去一个世纪显著上升,主要归因于人类活动产生的温室气体排放。科学界普遍认"
       "为,若不采取有效措施,极端天气事件将更加频繁。请根据上述内容,总结应对气候变化的三个关键策略。"},
      {"edit", "文本修改", "Edit this text",
       "Edit this text: fix the spelling mistakes. Answer with the corrected text only.\n\n"
       "Maria walked to the old market early in the morning. She wanted to buy fresh bread, a little cheese and three "
       "red aples. The baker greted Maria and asked how her brother was. He had been ill for two weeks, but the docter "
       "said that he would soon be able to leave his bed. Maria paid for the bread and put it in her basket. On the "
       "way "
       "home she met Peter, who carried a heavy box of books. Maria offered to help him, and together they brought the "
       "box to the small libary near the river. The librarian thanked them and gave each of them a cup of hot tea."},
  };
  return kTasks;
}

std::span<const Task> article_tasks() {
  constexpr size_t kOfTheArticle = 5;
  return all_tasks().first(kOfTheArticle);
}

}  // namespace updraft::measure
