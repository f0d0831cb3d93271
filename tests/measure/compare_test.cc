#include "measure/compare.h"

#include <gtest/gtest.h>

#include "base/new_file.h"
#include "tests/measure/example_record.h"
#include "tests/support/error_text.h"
#include "tests/support/temporary_folder.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;
using test::example_record;

const ComparedFigure& figure(const Comparison& comparison, const std::string& what) {
  for (const ComparedFigure& f : comparison.figures)
    if (f.what == what) return f;
  ADD_FAILURE() << what << " was not compared";
  return comparison.figures.front();
}

TEST(Compare, EqualRecordsHaveRatioOneAndNoDifferences) {
  const Comparison same = compare_records(example_record(), example_record());
  EXPECT_TRUE(same.differences.empty());
  EXPECT_EQ(same.figures.size(), 7u);  // two tasks twice, three points of the sweep
  for (const ComparedFigure& f : same.figures) {
    EXPECT_DOUBLE_EQ(f.ratio, 1) << f.what;
    EXPECT_LE(f.confidence_95.value().low, 1);
    EXPECT_GE(f.confidence_95.value().high, 1);
  }
  EXPECT_FALSE(has_regression(same, 1.0)) << "equal is no regression";
}

TEST(Compare, ASlowerRecordIsARegressionWithConfidence) {
  const Comparison slower = compare_records(example_record(10), example_record(8));
  const ComparedFigure& f = figure(slower, "code: tokens/s");
  EXPECT_NEAR(f.ratio, 0.8, 1e-9);
  EXPECT_NEAR(f.a, 10, 0.01);
  EXPECT_NEAR(f.b, 8, 0.01);
  EXPECT_LT(f.confidence_95.value().high, 0.9);
  EXPECT_TRUE(has_regression(slower, 0.95));
  EXPECT_FALSE(has_regression(slower, 0.75));
  EXPECT_FALSE(has_regression(compare_records(example_record(8), example_record(10)), 0.95)) << "faster is none";
  EXPECT_NE(comparison_text(slower, Language::kEnglish).find("slower"), std::string::npos);
  EXPECT_EQ(comparison_text(slower, Language::kEnglish).find("one sample"), std::string::npos);
}

TEST(Compare, OneSampleProvesNoRegression) {
  ordered_json one = example_record(8);
  for (ordered_json& task : one["tasks"]) task["samples"] = ordered_json::array({task["samples"][0]});
  one["sweep"] = ordered_json::array();
  for (const auto& [a, b] : {std::pair{example_record(10), one}, {one, example_record(1)}, {one, one}}) {
    const Comparison comparison = compare_records(a, b);
    EXPECT_GT(figure(comparison, "code: tokens/s").ratio, 0);
    EXPECT_FALSE(figure(comparison, "code: tokens/s").confidence_95);
    EXPECT_FALSE(has_regression(comparison, 100));
    EXPECT_NE(comparison_text(comparison, Language::kEnglish).find("no regression is proven"), std::string::npos);
    EXPECT_NE(comparison_text(comparison, Language::kChinese).find("仅一个样本"), std::string::npos);
    const ordered_json json = comparison_json(comparison);
    EXPECT_TRUE(json["figures"][0]["confidence_95"].is_null());
    EXPECT_EQ(json["figures"][0]["verdict"], "one sample");
  }
}

TEST(Compare, AsJsonAndInChinese) {
  const Comparison slower = compare_records(example_record(10), example_record(8));
  const ordered_json json = comparison_json(slower);
  ASSERT_EQ(json["figures"].size(), 7u);
  const ordered_json& first = json["figures"][0];
  EXPECT_EQ(first["what"], "chinese_qa: tokens/s");
  EXPECT_NEAR(first["ratio"].get<double>(), 0.8, 1e-9);
  EXPECT_LT(first["confidence_95"][0], 0.8);
  EXPECT_GT(first["confidence_95"][1], 0.8);
  EXPECT_EQ(first["verdict"], "slower");
  EXPECT_TRUE(json["differences"].empty());
  const std::string chinese = comparison_text(slower, Language::kChinese);
  for (const char* part : {"95 % 区间", "更慢", "解码, 深度 4096, 批大小 4", "预填充 256 个词元", "单步 4 行, 深度 0"})
    EXPECT_NE(chinese.find(part), std::string::npos) << part << "\n" << chinese;
}

TEST(Compare, NoiseIsNoRegression) {
  ordered_json a = example_record(), b = example_record();
  for (ordered_json* record : {&a, &b})
    for (ordered_json& task : (*record)["tasks"]) {
      task["samples"][0]["latency_s"] = 0.2, task["samples"][2]["latency_s"] = 0.6;
      for (ordered_json& sample : task["samples"]) sample["token_times_s"] = ordered_json::array();
    }
  b["tasks"][0]["samples"][1]["latency_s"] = 0.5;
  b["sweep"] = ordered_json::array();
  const Comparison noisy = compare_records(a, b);
  EXPECT_LT(figure(noisy, "chinese_qa: tokens/s").ratio, 0.97);
  EXPECT_FALSE(has_regression(noisy, 0.95));
}

TEST(Compare, NamesWhatIsNotTheSame) {
  ordered_json other = example_record();
  other["model"]["dtype"] = "f16";
  other["machine"]["processor"] = "Z80";
  other["tasks"][1]["logits_hash"] = "ffff";
  const Comparison comparison = compare_records(example_record(), other);
  ASSERT_EQ(comparison.differences.size(), 3u);
  const std::string text = comparison_text(comparison, Language::kEnglish);
  for (const char* part : {"model.dtype", "f16", "Z80", "code: logits_hash"})
    EXPECT_NE(text.find(part), std::string::npos) << part;
}

TEST(Compare, NamesSettingsThatAreNotTheSame) {
  ordered_json a = example_record(), b = example_record();
  a["protocol"]["sweep"] = {{"decode_tokens", 32}, {"samples", 5}};
  b["protocol"]["sweep"] = {{"decode_tokens", 4}, {"samples", 3}};
  a["protocol"].erase("speculate");  // as in records of earlier versions: plain decoding
  b["protocol"]["speculate"] = false;
  b["sweep"][1]["depth_fill"] = "prefill";
  EXPECT_EQ(compare_records(a, b).differences,
            (std::vector<std::string>{"sweep.decode_tokens: 32 / 4", "sweep.samples: 5 / 3",
                                      "decode at depth 4096, batch 4: depth_fill synthetic / prefill"}));
  b["protocol"]["speculate"] = true;
  b["sweep"] = ordered_json::array();  // no point to compare: its settings say nothing
  EXPECT_EQ(compare_records(a, b).differences, (std::vector<std::string>{"protocol.speculate: false / true"}));
}

TEST(Compare, NothingInCommonIsAnError) {
  ordered_json other = example_record();
  other["tasks"] = other["sweep"] = ordered_json::array();
  EXPECT_NE(test::error_text([&] { compare_records(example_record(), other); }).find("in common"), std::string::npos);
}

TEST(Compare, CountsThatNoIntegerHoldsAreShownAsTheyAre) {
  ordered_json record = example_record();
  for (ordered_json& point : record["sweep"]) point["depth"] = point["prompt_tokens"] = 1e19;
  const Comparison same = compare_records(record, record);
  EXPECT_EQ(figure(same, "prefill of 10000000000000000000 tokens: tokens/s").ratio, 1);
}

TEST(Compare, BrokenRecordsAreRefusedNotCrashes) {
  const ordered_json good = example_record();
  for (const char* pointer : {"/tasks/0", "/tasks/0/samples", "/tasks/0/samples/0", "/tasks/0/samples/0/latency_s",
                              "/tasks/0/samples/0/token_times_s", "/tasks/0/id", "/sweep/1", "/sweep/1/samples_s",
                              "/sweep/1/depth", "/model", "/sweep", "/tasks"})
    for (const ordered_json& wrong : {ordered_json("text"), ordered_json(nullptr), ordered_json::array({"x"}),
                                      ordered_json::object({{"a", 1}}), ordered_json(-7)}) {
      ordered_json broken = good;
      broken[ordered_json::json_pointer(pointer)] = wrong;
      SCOPED_TRACE(std::string(pointer) + " = " + wrong.dump());
      test::error_text([&] { compare_records(good, broken); });  // an Error or a comparison, nothing else
      test::error_text([&] { compare_records(broken, good); });
    }
}

TEST(RunRecord, GoesThroughAFileUnchanged) {
  const test::TemporaryFolder folder;
  const std::string path = (folder.path() / "record.json").string();
  const ordered_json record = example_record();
  write_text_file(path, record.dump(2));
  EXPECT_EQ(read_run_record(path), record);
  EXPECT_EQ(read_run_record(path).dump(2), record.dump(2)) << "and in the same order";
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++files;
  EXPECT_EQ(files, 1u) << "nothing incomplete is left";
}

TEST(RunRecord, WhatIsNoRecordIsNamed) {
  const test::TemporaryFolder folder;
  // What the process's stack could not compare or write out.
  const std::string deep = R"({"schema": "updraft.run/1", "model": {"name": )" + std::string(1 << 20, '[') +
                           std::string(1 << 20, ']') + "}}";
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"), std::string(R"({"schema": 3})"),
        std::string(R"({"schema": "updraft.run/0"})"), deep}) {
    const std::string path = folder.write("record.json", text).string();
    const std::string error = test::error_text([&] { read_run_record(path); });
    EXPECT_NE(error.find(path), std::string::npos) << text.substr(0, 80);
    EXPECT_NE(error.find("run record"), std::string::npos) << text.substr(0, 80);
  }
  EXPECT_NE(test::error_text([&] { read_run_record(folder.path()); }).find("run record"), std::string::npos);
  EXPECT_NE(test::error_text([] { read_run_record("/no/such.json"); }).find("/no/such.json"), std::string::npos);
  EXPECT_NE(test::error_text([] { write_text_file("/no/such/folder/x", "x"); }).find("/no/such/folder/x"),
            std::string::npos);
}

}  // namespace
}  // namespace updraft::measure
