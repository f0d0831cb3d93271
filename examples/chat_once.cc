// The smallest useful program: one question, the answer as it comes.
//
//   chat_once MODEL "Why is the sky blue?"        MODEL: a Hugging Face folder or a .gguf file
#include <cstdio>
#include <exception>

#include "updraft/updraft.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL QUESTION\n", argv[0]);
    return 2;
  }
  try {
    updraft::Model model = updraft::Model::load(argv[1]);
    updraft::GenerateOptions options;
    options.max_new_tokens = 64;
    options.on_text = [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
      return true;
    };
    const updraft::Generated answer = model.chat({{"user", argv[2]}}, options);
    std::printf("\n[%zu tokens, %s, %.1f tokens/s]\n", answer.ids.size(), answer.finish_reason.c_str(),
                answer.decode_tokens_per_second);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
