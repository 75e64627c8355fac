#include "runtime/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/chat.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr char kDataFolder[] = TANDEM_SOURCE_DIR "/tests/data/templates/";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The time that scripts/make_template_goldens.py renders with: Sunday 2025-03-09 14:05:07.
std::tm GoldenTime() {
  std::tm time = {};
  time.tm_year = 125;
  time.tm_mon = 2;
  time.tm_mday = 9;
  time.tm_hour = 14;
  time.tm_min = 5;
  time.tm_sec = 7;
  time.tm_wday = 0;
  time.tm_yday = 67;
  return time;
}

absl::StatusOr<std::string> RenderCase(const std::string& source, Json variables) {
  absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Parse(source);
  if (!chat_template.ok()) return chat_template.status();
  const std::string messages = variables["messages"].dump();
  const std::string tools = variables.contains("tools") ? variables["tools"].dump() : "";
  ChatTemplateInputs inputs;
  inputs.add_generation_prompt = variables["add_generation_prompt"].get<bool>();
  for (const char* own : {"messages", "tools", "add_generation_prompt"}) variables.erase(own);
  const std::string rest = variables.dump();
  inputs.messages_json = messages;
  inputs.tools_json = tools;
  inputs.variables_json = rest;
  inputs.bos_token = "<s>";
  inputs.eos_token = "</s>";
  inputs.now = GoldenTime();
  return chat_template->Render(inputs);
}

TEST(ChatTemplateGoldens, EveryTemplateInEveryCase) {
  const Json data = Json::parse(ReadFile(std::string(kDataFolder) + "goldens.json"));
  size_t rendered = 0;
  size_t failed = 0;
  for (const auto& [name, goldens] : data["goldens"].items()) {
    const std::string source = ReadFile(kDataFolder + name);
    for (const auto& [case_name, golden] : goldens.items()) {
      SCOPED_TRACE(name + ", case " + case_name);
      const auto text = RenderCase(source, data["cases"][case_name]);
      if (golden.is_null()) {
        EXPECT_FALSE(text.ok()) << "Jinja2 fails, this gives: " << *text;
        ++failed;
        continue;
      }
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_EQ(*text, golden.get<std::string>());
      ++rendered;
    }
  }
  EXPECT_GE(rendered, 250u);
  EXPECT_GE(failed, 40u);
}

// Snippets: source, variables and what Jinja2 gives, written by the same script.
TEST(ChatTemplateGoldens, EverySnippet) {
  const Json data = Json::parse(ReadFile(std::string(kDataFolder) + "snippets.json"));
  ASSERT_GE(data["snippets"].size(), 100u);
  for (const Json& snippet : data["snippets"]) {
    const auto source = snippet[0].get<std::string>();
    Json variables = data["variables"];
    variables["messages"] = Json::array();
    variables["add_generation_prompt"] = false;
    const auto text = RenderCase(source, variables);
    if (snippet[1].is_null()) {
      EXPECT_FALSE(text.ok()) << source << "\nJinja2 fails, this gives: " << *text;
    } else if (!text.ok()) {
      ADD_FAILURE() << source << "\n" << text.status();
    } else {
      EXPECT_EQ(*text, snippet[1].get<std::string>()) << source;
    }
  }
}

absl::Status FailureOf(const std::string& source, const ChatTemplateLimits& limits = {}) {
  const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Parse(source);
  if (!chat_template.ok()) return chat_template.status();
  ChatTemplateInputs inputs;
  inputs.messages_json = "[]";
  inputs.limits = limits;
  return chat_template->Render(inputs).status();
}

TEST(ChatTemplateErrors, SayTheLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\nb\n{% if %}", "line 3"},
      {"{{ 1 }}\n{{ 'open }}", "line 2"},
      {"{% for x in y %}\n\n", "line 2"},
      {"\n\n{{ x.y }}", "line 3: 'x' is undefined"},
      {"\n{{ raise_exception('no way') }}", "line 2: the template says: no way"},
      {"\n{{ 1 | nosuch }}", "line 2: no filter named 'nosuch'"},
      {"\n{{ 1 is nosuch }}", "line 2: no test named 'nosuch'"},
      {"\n{% nosuch %}", "line 2: unknown tag 'nosuch'"},
      {"\n{% include 'x' %}", "the tag 'include' has no place"},
      {"{# open", "line 1: missing end of comment"},
      {"\n{{ strftime_now('%Y') }}", "no time was given"},
      {"{{ 9223372036854775807 + 1 }}", "beyond 64 bits"},
  };
  for (const auto& [source, message] : cases) {
    const absl::Status status = FailureOf(source);
    EXPECT_FALSE(status.ok()) << source;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << source;
  }
}

TEST(ChatTemplateErrors, BadInputs) {
  const absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse("x");
  ASSERT_TRUE(parsed.ok());
  const auto fails_with = [&](ChatTemplateInputs inputs, const char* message) {
    const absl::Status status = parsed->Render(inputs).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  fails_with({.messages_json = "{}"}, "must be a JSON array");
  fails_with({.messages_json = "[1,"}, "the messages are no valid JSON");
  fails_with({.messages_json = "[]", .variables_json = "[]"}, "must be a JSON object");
  fails_with({.messages_json = "[18446744073709551615]"}, "64 bits");
  fails_with({.messages_json = std::string(100000, '[')}, "nested deeper");
  EXPECT_FALSE(ChatTemplate::Parse("\xff").ok());
}

std::string Repeated(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ChatTemplateLimitsTest, HostileSyntaxIsRefused) {
  constexpr size_t kMany = 100000;
  for (const char* open : {"(", "[", "{1:", "-", "not ", "x(", "x[", "1 if 1 else ", "x is eq ("}) {
    EXPECT_FALSE(ChatTemplate::Parse("{{ " + Repeated(open, kMany)).ok()) << open;
  }
  for (const char* link : {"+x", ".x", "|upper", "()", " and x", " or x", "**x", "[0]", " if x"}) {
    EXPECT_FALSE(ChatTemplate::Parse("{{ x" + Repeated(link, kMany) + " }}").ok()) << link;
  }
  for (const char* tag : {"{% if 1 %}", "{% for x in y %}", "{% macro m() %}", "{% set x %}",
                          "{% with %}", "{% filter upper %}"}) {
    EXPECT_FALSE(ChatTemplate::Parse(Repeated(tag, kMany)).ok()) << tag;
  }
  EXPECT_FALSE(ChatTemplate::Parse("{% set " + Repeated("(", kMany) + " = 1 %}").ok());
}

TEST(ChatTemplateLimitsTest, HostileRunsEnd) {
  const char* const sources[] = {
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{{ range(1000000000000) }}",
      "{{ 'a' * 1000000000000 }}",
      "{{ [1] * 1000000000000 }}",
      "{{ 'abc'.center(1000000000000) }}",
      "{{ 'abc' | indent(1000000000000) }}",
      "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
      "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
      "{% set n = namespace(s=1) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}",
      "{% set n = namespace(s=1) %}{% for i in range(9999) %}{% set n.s = {1: n.s} %}{% endfor %}",
      "{% set n = namespace(s=1) %}{% for i in range(190) %}{% set n.s = [n.s, n.s] %}{% endfor %}"
      "{{ n.s }}",
      "{% set n = namespace(s=1) %}{% for i in range(190) %}{% set n.s = [n.s, n.s] %}{% endfor %}"
      "{{ n.s | tojson }}",
      "{% set n = namespace(s=1) %}{% for i in range(190) %}{% set n.s = [n.s, n.s] %}{% endfor %}"
      "{% set m = n.s %}{% set n.s=1 %}{% for i in range(190) %}{% set n.s = [n.s, n.s] %}"
      "{% endfor %}{{ n.s == m }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{% set t = 'x' * 1000000 %}{% for i in range(1000) %}{{ t }}{% endfor %}",
  };
  for (const char* source : sources) {
    EXPECT_EQ(FailureOf(source).code(), absl::StatusCode::kResourceExhausted) << source << "\n"
                                                                              << FailureOf(source);
  }
}

TEST(ChatTemplateLimitsTest, AreTheCallersChoice) {
  const std::string loop = "{% for i in range(50) %}abc{% endfor %}";
  EXPECT_TRUE(FailureOf(loop).ok());
  EXPECT_THAT(std::string(FailureOf(loop, {.max_steps = 40}).message()), HasSubstr("40 steps"));
  EXPECT_THAT(std::string(FailureOf(loop, {.max_output_bytes = 149}).message()),
              HasSubstr("more than 149 bytes"));
  EXPECT_TRUE(FailureOf(loop, {.max_output_bytes = 150}).ok());
  EXPECT_THAT(std::string(FailureOf(loop, {.max_allocated_bytes = 1000}).message()),
              HasSubstr("1000 bytes of values"));
}

// Values that refer to themselves in a circle, or in a long chain, are freed without recursion.
// The address sanitizer sees what is not.
TEST(ChatTemplateLimitsTest, CirclesAndChainsAreFreed) {
  EXPECT_TRUE(FailureOf("{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n] %}"
                        "{% macro m() %}{% endmacro %}{% set n.m = m %}"
                        "{% for i in [n] %}{% set n.loop = loop %}{% endfor %}")
                  .ok());
  EXPECT_TRUE(FailureOf("{% set n = namespace(c=1) %}{% for i in range(90000) %}"
                        "{% set n.c = namespace(c=n.c) %}{% endfor %}")
                  .ok());
  EXPECT_TRUE(FailureOf("{% set n = namespace(c=1) %}{% for i in range(20000) %}"
                        "{% for j in [n.c] %}{% set n.c = loop %}{% endfor %}{% endfor %}")
                  .ok());
}

TEST(ChatTemplate, RendersOnSeveralThreads) {
  const absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse(
      "{% macro m(x) %}<{{ x }}>{% endmacro %}{% for i in range(200) %}{{ m(i) }}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts) {
    threads.emplace_back([&] { text = parsed->Render({.messages_json = "[]"}).value_or(""); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(texts[0], HasSubstr("<199>"));
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
}

TEST(RenderChat, GivesRolesContentsAndTokens) {
  const absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse(
      "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}"
      "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
      "{% if enable_thinking is defined %}{{ enable_thinking }}{% endif %}");
  ASSERT_TRUE(parsed.ok());
  const std::vector<ChatMessage> messages = {{"system", "Be \"brief\""}, {"user", "你好\n"}};
  ChatOptions options = {.bos_token = "<s>", .eos_token = "</s>"};
  EXPECT_EQ(RenderChat(*parsed, messages, options).value_or("failed"),
            "<s>system:Be \"brief\"</s>user:你好\n</s>assistant:");
  options = {.add_generation_prompt = false, .enable_thinking = false};
  EXPECT_EQ(RenderChat(*parsed, messages, options).value_or("failed"),
            "system:Be \"brief\"user:你好\nFalse");
  const std::vector<ChatMessage> broken = {{"user", "ok"}, {"user", "\xc3"}};
  EXPECT_THAT(std::string(RenderChat(*parsed, broken, options).status().message()),
              HasSubstr("message 2"));
}

}  // namespace
}  // namespace tandem
