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
    EXPECT_LE(f.low_95, 1);
    EXPECT_GE(f.high_95, 1);
  }
  EXPECT_FALSE(has_regression(same, 1.0)) << "equal is no regression";
}

TEST(Compare, ASlowerRecordIsARegressionWithConfidence) {
  const Comparison slower = compare_records(example_record(10), example_record(8));
  const ComparedFigure& f = figure(slower, "code: tokens/s");
  EXPECT_NEAR(f.ratio, 0.8, 1e-9);
  EXPECT_NEAR(f.a, 10, 0.01);
  EXPECT_NEAR(f.b, 8, 0.01);
  EXPECT_LT(f.high_95, 0.9);
  EXPECT_TRUE(has_regression(slower, 0.95));
  EXPECT_FALSE(has_regression(slower, 0.75));
  EXPECT_FALSE(has_regression(compare_records(example_record(8), example_record(10)), 0.95)) << "faster is none";
  EXPECT_NE(comparison_text(slower).find("slower"), std::string::npos);
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
  const std::string text = comparison_text(comparison);
  for (const char* part : {"model.dtype", "f16", "Z80", "code: logits_hash"})
    EXPECT_NE(text.find(part), std::string::npos) << part;
}

TEST(Compare, NothingInCommonIsAnError) {
  ordered_json other = example_record();
  other["tasks"] = other["sweep"] = ordered_json::array();
  EXPECT_NE(test::error_text([&] { compare_records(example_record(), other); }).find("in common"), std::string::npos);
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
