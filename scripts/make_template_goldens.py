#!/usr/bin/env python3
"""Writes goldens.json and snippets.json in tests/data/templates: what Jinja2 makes of the chat templates beside it.

Every template is rendered over every case below, in the environment that Hugging Face's libraries
set up for chat templates. A rendering that fails is recorded as null: it must fail in Tandem too.

Usage: scripts/make_template_goldens.py [DIRECTORY]     (needs python3-jinja2)
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2025, 3, 9, 14, 5, 7)  # also in tests/runtime/chat_template_test.cc

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city, e.g. \"Zürich\" <now>",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "exact": {"type": ["boolean", "null"]},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                "place": {
                    "type": "object",
                    "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                    "required": ["lat"],
                },
            },
            "required": ["city"],
        },
        "return": {"type": "string"},
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time.\nNo arguments.",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    },
}
TOOLS = [WEATHER, CLOCK]


def call(name, arguments, call_id):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


ARGUMENTS = {"city": "Zürich & <Bern>", "days": 3, "exact": None, "ratio": 0.1, "tags": ["a", "ß"],
             "place": {"lat": 47.0, "lon": 8.5e-7}, "on": True}
SYSTEM = message("system", "Be brief.\n  Be kind. ")
HELLO = message("user", "Hello, <world> & 'all'! 你好 🙂")
ROUND_TRIP = [
    message("user", "Weather in Zürich?"),
    message("assistant", "", tool_calls=[call("get_weather", ARGUMENTS, "functions.get_weather:0")]),
    message("tool", "{\"temperature\": 21}", tool_call_id="functions.get_weather:0",
            name="get_weather"),
]
PARALLEL = [
    SYSTEM,
    message("user", "Weather and time?"),
    message("assistant", "I look.", reasoning_content="Two calls.\n",
            tool_calls=[call("get_weather", {"city": "Oslo"}, "a1"), call("clock", {}, "a2")]),
    message("tool", "rain", tool_call_id="a1", name="get_weather"),
    message("tool", "12:30", tool_call_id="a2", name="clock"),
    message("assistant", "Rain at 12:30.", reasoning_content="Both are known."),
    message("user", "Thanks"),
]
THOUGHT = [
    HELLO,
    message("assistant", "<think>\nA greeting.\n</think>\n\nHi there."),
    message("user", "And 2+2?"),
    message("assistant", "4", reasoning_content="Sum: 2+2 = 4"),
]
AS_TEXT = [
    message("user", "Call it"),
    message("assistant", None, tool_calls=[call("clock", "{\"zone\": \"UTC\"}", "c0")]),
    message("tool", "noon", tool_call_id="c0", name="clock"),
]
PARTS = [
    message("system", [{"type": "text", "text": "Parts."}]),
    message("user", [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]),
]

# Each case is a set of template variables; bos_token and eos_token are given to all.
CASES = {
    "user": {"messages": [HELLO], "add_generation_prompt": True},
    "system": {"messages": [SYSTEM, HELLO], "add_generation_prompt": True},
    "history": {"messages": [SYSTEM, HELLO, message("assistant", " Hi! "), message("user", "Bye")],
                "add_generation_prompt": False},
    "ends_with_answer": {"messages": [HELLO, message("assistant", "Hi!")],
                         "add_generation_prompt": False},
    "thinking_on": {"messages": [SYSTEM, HELLO], "add_generation_prompt": True,
                    "enable_thinking": True, "thinking": True},
    "thinking_off": {"messages": [SYSTEM, HELLO], "add_generation_prompt": True,
                     "enable_thinking": False, "thinking": False},
    "tools": {"messages": [HELLO], "tools": TOOLS, "add_generation_prompt": True},
    "tools_system": {"messages": [SYSTEM, HELLO], "tools": TOOLS, "add_generation_prompt": True,
                     "date_string": "01 Jan 2025", "tools_in_user_message": False},
    "tool_result": {"messages": ROUND_TRIP, "tools": TOOLS, "add_generation_prompt": True},
    "parallel_calls": {"messages": PARALLEL, "tools": TOOLS, "add_generation_prompt": True,
                       "enable_thinking": True, "thinking": True, "drop_thinking": False},
    "call_then_text": {"messages": PARALLEL[:6], "tools": TOOLS, "add_generation_prompt": False},
    "reasoning": {"messages": THOUGHT, "add_generation_prompt": False, "thinking": True,
                  "clear_thinking": False, "reasoning_effort": "high"},
    "arguments_as_text": {"messages": AS_TEXT, "add_generation_prompt": True},
    "content_parts": {"messages": PARTS, "add_generation_prompt": True,
                      "response_format": {"type": "json"}, "preserve_thinking": True},
    "no_messages": {"messages": [], "add_generation_prompt": True},
}

# Snippets for what the templates above leave out. All see VARIABLES.
VARIABLES = {
    "n": 7, "f": 2.5, "t": True, "none_value": None, "s": "Hello, Wörld! ß", "empty": "",
    "xs": [3, 1, 2], "words": ["b", "A", "c", "a"], "d": {"b": 1, "a": [1, "x", None], "items": 5},
    "users": [{"name": "Bob", "age": 30, "tags": ["x"]}, {"name": "amy", "age": 25},
              {"name": "Cy", "age": 30, "ok": True}],
    "lines": "one\n  two\r\n\nthree", "odd": "a\tb'c\"d\\e\u00e9\u200b\x7f",
}
# One per line; "⏎" stands for a line end. Empty lines and lines that begin with "##" are left out.
SNIPPETS = (pathlib.Path(__file__).resolve().parent / "template_snippets.txt")


def snippets():
    for line in SNIPPETS.read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("##"):
            yield line.replace("⏎", "\n")


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}: marks what the assistant wrote; the text itself stays as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @staticmethod
    def _body(caller):
        return caller()


def environment():
    def raise_exception(text):
        raise jinja2.exceptions.TemplateError(text)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = NOW.strftime
    return made


def render(source, variables):
    try:
        return environment().from_string(source).render(variables)
    except Exception:  # whatever Python raises, the template has failed
        return None


def main():
    here = pathlib.Path(__file__).resolve().parent.parent / "tests/data/templates"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    goldens = {}
    for path in sorted(folder.glob("*.jinja")):
        with open(path, encoding="utf-8", newline="") as file:
            source = file.read()
        goldens[path.name] = {
            name: render(source, {"bos_token": "<s>", "eos_token": "</s>", "tools": None,
                                  **json.loads(json.dumps(case))})
            for name, case in CASES.items()
        }
    failed = sum(text is None for texts in goldens.values() for text in texts.values())
    with open(folder / "goldens.json", "w", encoding="utf-8") as file:
        json.dump({"cases": CASES, "goldens": goldens}, file, ensure_ascii=False,
                  separators=(",", ":"))
        file.write("\n")
    rendered = [[source, render(source, {"bos_token": "<s>", "eos_token": "</s>", "messages": [],
                                         "tools": None, "add_generation_prompt": False,
                                         **json.loads(json.dumps(VARIABLES))})]
                for source in snippets()]
    with open(folder / "snippets.json", "w", encoding="utf-8") as file:
        json.dump({"variables": VARIABLES, "snippets": rendered}, file, ensure_ascii=False,
                  indent=0)
        file.write("\n")
    print(f"{len(rendered)} snippets, {sum(text is None for _, text in rendered)} fail")
    print(f"{len(goldens)} templates, {len(CASES)} cases each, {failed} renderings fail")


if __name__ == "__main__":
    main()
