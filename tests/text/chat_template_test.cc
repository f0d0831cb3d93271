// ChatTemplate and load_chat_settings: the prompts of Mistral-7B-Instruct-v0.2 and SmolLM2, and where folders keep
// templates.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "base/error.h"
#include "tests/support/error_text.h"
#include "tests/support/goldens.h"

namespace updraft::text {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

class FolderTest : public testing::Test {
 protected:
  FolderTest() : folder_(fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~FolderTest() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST(GoldenChatTemplate, MistralPromptsAndErrors) {
  fs::path lines = test::find_golden("mistral-7b-instruct-v0.2/chat.jsonl");
  if (lines.empty()) GTEST_SKIP() << "mistral-7b-instruct-v0.2/chat.jsonl is not in the goldens";
  std::map<std::string, ChatSettings> settings;
  for (const char* name : {"old", "new"}) settings[name] = load_chat_settings(lines.parent_path() / name);
  std::ifstream file(lines);
  int compared = 0;
  for (std::string line; std::getline(file, line); ++compared) {
    Json golden = Json::parse(line);
    const ChatSettings& chat = settings[golden["template"].get<std::string>()];
    Json variables = chat.special_tokens;
    variables["messages"] = golden["messages"];
    ChatTemplate chat_template(chat.chat_template);
    SCOPED_TRACE(line.substr(0, 200));
    if (golden.contains("error")) {
      try {
        ADD_FAILURE() << "rendered " << chat_template.render(variables);
      } catch (const TemplateError& error) {
        EXPECT_EQ(error.what(), golden["error"].get<std::string>());
      }
    } else {
      EXPECT_EQ(chat_template.render(variables), golden["prompt"].get<std::string>());
    }
  }
  EXPECT_GT(compared, 10);
}

TEST(GoldenChatTemplate, SmolLM2Prompts) {
  fs::path path = test::find_golden("templates/smollm2.json");
  ASSERT_FALSE(path.empty());
  Json golden = Json::parse(read_file(path));
  ChatTemplate chat_template(golden["template"].get<std::string>());
  for (const Json& chat : golden["chats"]) {
    Json variables = {{"messages", chat["messages"]}, {"add_generation_prompt", true}};
    EXPECT_EQ(chat_template.render(variables), chat["prompt"].get<std::string>());
  }
}

TEST_F(FolderTest, ConfigStringAndTokensInBothSpellings) {
  write_file(
      folder_ / "tokenizer_config.json",
      R"({"chat_template": "{{ bos_token }}", "bos_token": {"content": "<s>", "lstrip": false}, "pad_token": null,
                 "add_bos_token": true})");
  write_file(folder_ / "special_tokens_map.json", R"({"bos_token": "<other>", "eos_token": {"content": "</s>"}})");
  ChatSettings settings = load_chat_settings(folder_);
  EXPECT_EQ(settings.chat_template, "{{ bos_token }}");
  EXPECT_EQ(settings.special_tokens, Json({{"bos_token", "<other>"}, {"eos_token", "</s>"}}));
  EXPECT_EQ(ChatTemplate(settings.chat_template).render(settings.special_tokens), "<other>");
}

TEST_F(FolderTest, BesideAnAddedTokensDecoderTheMapDoesNotCount) {
  write_file(folder_ / "tokenizer_config.json", R"({"bos_token": "<s>", "added_tokens_decoder": {}})");
  write_file(folder_ / "special_tokens_map.json", R"({"bos_token": "<other>", "eos_token": "</s>"})");
  EXPECT_EQ(load_chat_settings(folder_).special_tokens, Json({{"bos_token", "<s>"}}));
}

TEST_F(FolderTest, ExtraSpecialTokensWithNamesAreVariables) {
  write_file(folder_ / "tokenizer_config.json",
             R"({"extra_special_tokens": {"image_token": "<image>", "begin": {"content": "<b>"}}})");
  const Json tokens = load_chat_settings(folder_).special_tokens;
  EXPECT_EQ(tokens.at("image_token"), "<image>");
  EXPECT_EQ(tokens.at("begin"), "<b>");
  EXPECT_EQ(tokens.size(), 2u);
}

TEST_F(FolderTest, ConfigListHasDefaultAndTools) {
  write_file(folder_ / "tokenizer_config.json",
             R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})");
  ChatSettings settings = load_chat_settings(folder_);
  EXPECT_EQ(settings.chat_template, "d");
  EXPECT_EQ(settings.tool_template, "t");
  const Json tools = {{"tools", {{{"name", "f"}}}}};
  EXPECT_TRUE(settings.takes_tool_template(tools));
  EXPECT_TRUE(settings.takes_tool_template({{"tools", Json::array()}}));
  for (const Json& without : {Json::object(), Json{{"tools", nullptr}}})
    EXPECT_FALSE(settings.takes_tool_template(without)) << without;
  settings.tool_template.clear();
  EXPECT_FALSE(settings.takes_tool_template(tools));
}

// As transformers calls them: a template may ask whether there are tools without their being undefined.
TEST_F(FolderTest, TemplatesFindToolsAndDocumentsAsNone) {
  write_file(folder_ / "tokenizer_config.json", R"({"bos_token": "<s>"})");
  const ChatTemplate source(
      "{{ bos_token }}{% if tools is not none %}[T]{% endif %}{% if documents is defined %}{{ documents }}{% endif %}");
  EXPECT_EQ(source.render(load_chat_settings(folder_).variables()), "<s>None");
}

TEST_F(FolderTest, TemplatesAreCalledByTheirFile) {
  const auto error_of = [&](const std::string& where) {
    const ChatSettings settings = load_chat_settings(folder_);
    const std::string error = test::error_text([&] { ChatTemplate(settings.chat_template, settings.source); });
    EXPECT_NE(error.find(where), std::string::npos) << error;
  };
  write_file(folder_ / "tokenizer_config.json", R"({"chat_template": "{% if %}"})");
  error_of("chat_template of " + (folder_ / "tokenizer_config.json").string());
  write_file(folder_ / "chat_template.jinja", "{% for %}");
  error_of((folder_ / "chat_template.jinja").string());
}

TEST_F(FolderTest, FilesComeBeforeTheConfig) {
  write_file(folder_ / "tokenizer_config.json", R"({"chat_template": "config"})");
  write_file(folder_ / "chat_template.jinja", "file\n");
  write_file(folder_ / "additional_chat_templates" / "tool_use.jinja", "tools");
  ChatSettings settings = load_chat_settings(folder_);
  EXPECT_EQ(settings.chat_template, "file\n");
  EXPECT_EQ(settings.tool_template, "tools");
}

TEST_F(FolderTest, ATemplateForToolsMayBeTheOnlyOne) {
  write_file(folder_ / "tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "list"}]})");
  EXPECT_TRUE(load_chat_settings(folder_).takes_tool_template({{"tools", Json::array()}}));
  EXPECT_EQ(load_chat_settings(folder_).tool_template, "list");
  write_file(folder_ / "additional_chat_templates" / "tool_use.jinja", "file");
  EXPECT_EQ(load_chat_settings(folder_).tool_template, "file");
  EXPECT_EQ(load_chat_settings(folder_).chat_template, "");
}

TEST_F(FolderTest, NoTemplateIsEmptyAndBrokenFilesAreNamed) {
  EXPECT_EQ(load_chat_settings(folder_).chat_template, "");
  write_file(folder_ / "tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THROW(load_chat_settings(folder_), Error);
  write_file(folder_ / "tokenizer_config.json", "{");
  try {
    load_chat_settings(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tokenizer_config.json"), std::string::npos);
  }
}

TEST(ChatTemplate, RefusesVariablesThatAreNoObject) {
  EXPECT_THROW(ChatTemplate("x").render(Json::array()), TemplateError);
}

}  // namespace
}  // namespace updraft::text
