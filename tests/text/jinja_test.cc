// The template engine: jinja2's answers to several hundred hand-written templates (tests/differential makes them), and
// the sandbox's limits.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "base/error.h"
#include "tests/support/goldens.h"
#include "text/chat_template.h"

namespace updraft::text {
namespace {

using Json = nlohmann::ordered_json;

std::string render(const std::string& source, const Json& variables = Json::object()) {
  return ChatTemplate(source).render(variables);
}

// The error of a template that runs and fails.
std::string error_of(const std::string& source, const Json& variables = Json::object()) {
  try {
    ChatTemplate parsed(source);
    try {
      parsed.render(variables);
    } catch (const TemplateError& error) {
      return error.what();
    }
  } catch (const Error& error) {
    return std::string("parse: ") + error.what();
  }
  return "";
}

TEST(GoldenJinja, HandWrittenTemplatesAnswerAsJinja2) {
  auto path = test::find_golden("templates/jinja_cases.json");
  ASSERT_FALSE(path.empty());
  std::ifstream file(path);
  Json golden = Json::parse(file);
  int compared = 0;
  for (const Json& row : golden["cases"]) {
    const auto source = row["template"].get<std::string>();
    const Json& variables = row.contains("variables") ? row["variables"] : golden["variables"];
    SCOPED_TRACE(source);
    if (row.contains("prompt")) {
      EXPECT_NO_THROW(EXPECT_EQ(render(source, variables), row["prompt"].get<std::string>()));
    } else {
      EXPECT_NE(error_of(source, variables), "") << "jinja2 says " << row["error"];
    }
    ++compared;
  }
  EXPECT_GT(compared, 700);
}

TEST(Jinja, ErrorsNameWhatIsWrong) {
  EXPECT_EQ(error_of("{{ raise_exception('Roles must alternate') }}"), "Roles must alternate");
  EXPECT_EQ(error_of("{{ a.b }}"), "'a' is undefined");
  EXPECT_EQ(error_of("{{ a.b.c }}", {{"a", Json::object()}}), "'dict object' has no attribute 'b'");
  EXPECT_EQ(error_of("{{ a[0].b }}", {{"a", Json::array()}}), "list object has no element 0");
  EXPECT_EQ(error_of("{{ 'a' + none }}"), "can only concatenate str (not \"NoneType\") to str");
  EXPECT_EQ(error_of("{{ [].append(1) }}"), "access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_EQ(error_of("{{ 'a' * 2 ** 64 }}"), "cannot fit 'int' into an index-sized integer");
  EXPECT_EQ(error_of("{{ 10 ** 400 / 3 }}"), "integer division result too large for a float");
  EXPECT_EQ(error_of("{{ 10 ** 400 + 0.5 }}"), "int too large to convert to float");
}

TEST(Jinja, ParseErrorsHavePlaceAndReason) {
  EXPECT_EQ(
      error_of("a\n{% include 'x' %}"),
      "parse: The template chat_template does not parse at line 2, column 4: the statement 'include' is not supported "
      "in a chat template.");
  EXPECT_NE(error_of("{{ s|nope }}").find("there is no filter named 'nope'"), std::string::npos);
  EXPECT_NE(error_of("{% if x %}").find("'{% endif %}' is missing"), std::string::npos);
  EXPECT_NE(error_of("\xff").find("not valid UTF-8"), std::string::npos);
}

TEST(Jinja, TakesOnlySoManySteps) {
  EXPECT_THROW(render("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
               TemplateError);
  // Quadratic time on thousands of digits is not one step.
  for (const char* work : {"{% set c = b // a %}", "{% set c = a ~ '' %}", "{% set c = '%d' % a %}"}) {
    SCOPED_TRACE(work);
    EXPECT_THROW(render("{% set a = 7 ** 2500 %}{% set b = a * a %}{% for i in range(60000) %}" + std::string(work) +
                        "{% endfor %}"),
                 TemplateError);
  }
}

TEST(Jinja, KeepsWithinItsLimits) {
  for (const char* source : {
           "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
           "{{ 'x' * 9999999999 }}",
           "{{ 10 ** (10 ** 9) }}",
           "{{ (-3) ** (10 ** 30) }}",
           "{{ 10 ** 4299 * 10 }}",
           "{% set n = namespace(v=3) %}{% for i in range(100) %}{% set n.v = n.v * n.v %}{% endfor %}",
           "{{ [0] * 9999999999 }}",
           "{{ ('x' * 1000000)|replace('x', 'y' * 1000000) }}",
           "{{ '%999999999d' % 1 }}",
           "{{ '{:999999999}'.format(1) }}",
           "{{ 'x'|center(99999999999) }}",
           "{% set n = namespace(v=[]) %}{% for i in range(10000) %}{% set n.v = [n.v] %}{% endfor %}{{ n.v }}",
           "{% set n = namespace(v=[1]) %}{% for i in range(100) %}{% set n.v = [n.v, n.v] %}{% endfor %}{{ n.v }}",
           "{% set n = namespace(v=[1]) %}{% for i in range(10000) %}{% set n.v = n.v|map('upper') %}{% endfor %}",
           "{% set n = namespace(v='') %}{% for i in range(10000) %}{% set n.v = {'a': n.v}.get %}{% endfor %}",
           "{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}",
           "{% set n = namespace(v=0) %}{% for i in range(20000) %}{% set n.v = namespace(v=n.v) %}{% endfor %}{{ n.v "
           "}}",
           "{% set n = namespace(v=0) %}{% for i in range(9000) %}{% for j in [n.v] %}{% set n.v = loop %}{% endfor "
           "%}{% endfor %}",
       }) {
    SCOPED_TRACE(source);
    EXPECT_THROW(render(source), TemplateError);
  }
  EXPECT_THROW(ChatTemplate(std::string("{{ ") + std::string(100000, '(') + "1"), Error);
  EXPECT_THROW(ChatTemplate(std::string("{{ ") + std::string(100000, '-') + "1 }}"), Error);
  std::string blocks, sum = "{{ 1";
  for (int i = 0; i < 100000; ++i) blocks += "{% if 1 %}";
  for (int i = 0; i < 100000; ++i) sum += "+1";
  EXPECT_THROW(ChatTemplate{blocks}, Error);
  EXPECT_THROW(ChatTemplate{sum + " }}"}, Error);
}

TEST(Jinja, IntegersHaveUpTo4300Digits) {
  const std::string longest(4300, '9');
  EXPECT_EQ(render("{{ (10 ** 4299 - 1) * 10 + 9 }}"), longest);
  EXPECT_EQ(render("{{ " + longest + " }}"), longest);
  EXPECT_EQ(render("{{ -" + longest + " }}"), "-" + longest);
  EXPECT_EQ(error_of("{{ " + longest + " + 1 }}"), "an integer grew beyond 4300 digits");
  EXPECT_NE(error_of("{{ 0x" + std::string(3600, 'f') + " }}").find("line 1, column 4: an integer grew"),
            std::string::npos);
  EXPECT_EQ(render("{{ n }} {{ n + 1 }}", {{"n", UINT64_MAX}}), "18446744073709551615 18446744073709551616");
}

TEST(Jinja, ALongConversationStaysWithinTheLimits) {
  Json messages = Json::array();
  for (int i = 0; i < 2000; ++i) {
    messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(2000, 'x')}});
  }
  std::string source =
      "{% for m in messages %}{% if loop.last or messages|length > 3 %}{{ '<' + m['role'] + '>' + m['content']|trim }}"
      "{% endif %}{% endfor %}";
  EXPECT_EQ(render(source, {{"messages", messages}}).size(), 1000u * (2000 + 6) + 1000u * (2000 + 11));
}

TEST(Jinja, TemplatesAreReusableAndShareNothing) {
  ChatTemplate counter("{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}");
  EXPECT_EQ(counter.render({{"l", {1, 2}}}), "3");
  EXPECT_EQ(counter.render({{"l", {5}}}), "5");
  EXPECT_EQ(counter.render(Json::object()), "0");
}

// Values that come to hold themselves are let go; the leak checker of the sanitizer build sees to it.
TEST(Jinja, CyclesAreFreed) {
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n] %}x"), "x");
  EXPECT_EQ(render("{% macro m() %}{% endmacro %}{% set k = m %}x"), "x");
  EXPECT_EQ(render("{% for i in [1] %}{% set _ = loop.changed(loop) %}x{% endfor %}"), "x");
  EXPECT_EQ(render("{% for i in [1] recursive %}{% set q = loop %}{{ loop([]) }}x{% endfor %}"), "x");
}

}  // namespace
}  // namespace updraft::text
