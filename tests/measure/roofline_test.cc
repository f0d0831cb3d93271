#include "measure/roofline.h"

#include <gtest/gtest.h>

#include "tests/measure/example_record.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;
using test::example_record;

ordered_json record_of(const char* activations) {
  ordered_json record = example_record();
  record["model"]["activations"] = activations;
  record["peaks"] = ordered_json::array({{{"name", "F32 FMA"}, {"unit", "FLOP/s"}, {"per_second", 1e11}},
                                         {{"name", "int8 VNNI"}, {"unit", "OP/s"}, {"per_second", 4e11}},
                                         {{"name", "bf16 AMX"}, {"unit", "FLOP/s"}, {"per_second", 2e12}},
                                         {{"name", "int8 AMX"}, {"unit", "OP/s"}, {"per_second", 5e12}}});
  return record;
}

TEST(Roofline, ThePeakIsOfTheArithmeticThatRan) {
  EXPECT_EQ(roofline(record_of("f32"), Language::kEnglish).peak, 1e11);
  EXPECT_EQ(roofline(record_of("bf16x2"), Language::kEnglish).peak, 2e12);
  EXPECT_EQ(roofline(record_of("int8 per row and group, f32"), Language::kEnglish).peak, 5e12);
  EXPECT_EQ(roofline(record_of("int8 per row and group"), Language::kEnglish).unit, "OP");
  EXPECT_EQ(roofline(record_of("bf16x2"), Language::kEnglish).unit, "FLOP");
  ordered_json without_tiles = record_of("int8 per row and group");
  without_tiles["peaks"][3]["per_second"] = 0;
  EXPECT_EQ(roofline(without_tiles, Language::kEnglish).peak, 4e11);
  without_tiles["peaks"][1]["per_second"] = 0;
  EXPECT_EQ(roofline(without_tiles, Language::kEnglish).peak, 0) << "none was measured: F32's is another roof";
}

TEST(Roofline, TheDrawingNamesTheUnit) {
  const std::string integers = html_report(record_of("int8 per row and group"), Language::kEnglish);
  EXPECT_NE(integers.find(" GOP/s<"), std::string::npos);
  EXPECT_NE(integers.find(" OP/B<"), std::string::npos);
  EXPECT_EQ(integers.find("FLOP/B"), std::string::npos);
  EXPECT_NE(html_report(record_of("f32"), Language::kEnglish).find(" GFLOP/s<"), std::string::npos);
}

TEST(Roofline, TheHeadMultipliesTheLastRowOfAPromptAlone) {
  ordered_json record = record_of("f32");
  record["model"]["parameters"] = 1200;
  record["model"]["step_parameters"] = 1000;  // 200 are the embedding's, which is looked up
  record["model"]["head_parameters"] = 200;
  record["memory"]["streamed_bytes_per_step"] = 2000;
  record["sweep"] = {
      {{"kind", "prefill"}, {"prompt_tokens", 4}, {"prefill_tokens_per_second", summary_json({100, 100})}}};
  const std::vector<RooflinePoint> points = roofline(record, Language::kEnglish).points;
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].label, "decode");
  EXPECT_DOUBLE_EQ(points[0].intensity, 2 * 1000 / 2000.0);
  EXPECT_DOUBLE_EQ(points[0].speed, 2 * 1000 * 10);
  // 20 tokens of the tasks' prompts at 200 tokens per second.
  EXPECT_DOUBLE_EQ(points[1].intensity, 2 * (19 * 800 + 1000) / 2000.0);
  EXPECT_DOUBLE_EQ(points[1].speed, 2 * (19 * 800 + 1000) / 20.0 * 200);
  EXPECT_EQ(points[2].label, "prefill 4");
  EXPECT_DOUBLE_EQ(points[2].speed, 2 * (3 * 800 + 1000) / 4.0 * 100);
}

TEST(Roofline, EarlierRecordsHaveOnlyTheSumOfParameters) {
  ordered_json record = record_of("f32");
  const double all = record["model"]["parameters"];
  const std::vector<RooflinePoint> points = roofline(record, Language::kEnglish).points;
  ASSERT_FALSE(points.empty());
  EXPECT_DOUBLE_EQ(points[0].speed, 2 * all * 10);
}

}  // namespace
}  // namespace updraft::measure
