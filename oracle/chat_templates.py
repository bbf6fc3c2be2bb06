"""fixtures/chat_templates.json: what transformers' apply_chat_template makes of the templates in chat/.

    {"transformers", "now": the time strftime_now sees, "templates": [{"name", "template", "cases": [
        {"label", "messages", "tools", "documents", "add_generation_prompt", "special_tokens", "variables",
         "text" | "raised" | "fails"}]}]}

`special_tokens` are the tokenizer's (bos_token, eos_token …), `variables` the keyword arguments of the request
(enable_thinking, date_string …). `text` is the result; `raised` the message that the template gave to
raise_exception; `fails` means another error, whose words are Jinja's own and bind nobody.

What transformers gives every template, and Rust must too: trim_blocks and lstrip_blocks on, the last newline of
the template dropped; `tools` and `documents` always defined, None when absent; special tokens only where the
tokenizer has them; keys of a message whose value is None removed before rendering; `reasoning_content` and
`thinking` filled from each other or from `reasoning`; tojson without HTML escapes, non-ASCII letters kept, keys in
the order given, separators ", " and ": ".
"""

import datetime
import json
import pathlib

import jinja2
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 11, 5, 9, 5, 3)

LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
SENTENCE = {"bos_token": "<s>", "eos_token": "</s>"}
GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>"}
QWEN = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
NONE = {}

SYSTEM = {"role": "system", "content": "Answer in one sentence."}
HELLO = {"role": "user", "content": "Hello, what is 2 + 2?"}
FOUR = {"role": "assistant", "content": " It is 4. "}
MORE = {"role": "user", "content": "And <b>\"3 & 3\"</b>?\n\tÉté 🙂 "}
TALK = [SYSTEM, HELLO, FOUR, MORE]

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a town, e.g. \"Brno\" & <others>.",
    "parameters": {"type": "object", "properties": {
        "town": {"type": "string", "description": "Name, as in Ürümqi"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "array", "items": {"type": "integer"}},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                  "required": ["lat"]},
        "exact": {"type": "boolean", "default": False}, "note": {}},
        "required": ["town"]}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": {}}}
TOOLS = [WEATHER, CLOCK]


def call(name, arguments, identity="abc123XYZ"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


ASK = {"role": "user", "content": "Weather in Brno?"}
CALL = {"role": "assistant", "content": None,
        "tool_calls": [call("get_weather", {"town": "Brno", "days": [1, 2], "scale": 1.0, "tiny": 2.5e-7, "ok": True, "x": None})]}
RESULT = {"role": "tool", "tool_call_id": "abc123XYZ", "name": "get_weather", "content": "{\"temp\": 21.5, \"sky\": \"clear\"}"}
SUNNY = {"role": "assistant", "content": "Clear, 21.5 degrees."}
THOUGHT = {"role": "assistant", "content": "<think>\nTwo and two\nare four.\n</think>\n\nIt is 4."}
DOCUMENTS = [{"id": 7, "title": "Tides", "text": "The moon\ndoes it.", "tags": ["sea", "sky"]},
             {"title": "Salt", "text": "Rivers bring it.", "year": 1999, "embedding": [0.5]}]


def case(label, messages, special=NONE, prompt=True, tools=None, documents=None, **variables):
    return {"label": label, "messages": messages, "tools": tools, "documents": documents,
            "add_generation_prompt": prompt, "special_tokens": special, "variables": variables}


def talks(special):
    """The conversations that any template should stand."""
    return [
        case("one question", [HELLO], special),
        case("system and four turns", TALK, special),
        case("no generation prompt", [HELLO, FOUR], special, prompt=False),
    ]


CASES = {
    "chatml": talks(QWEN) + [case("empty content", [{"role": "user", "content": ""}], QWEN)],
    "llama3": talks(LLAMA) + [
        case("a given date", [SYSTEM, HELLO], LLAMA, date_string="01 Jan 2030"),
        case("tools with the user", [SYSTEM, ASK], LLAMA, tools=TOOLS),
        case("tools with the system", [SYSTEM, ASK], LLAMA, tools=[WEATHER], tools_in_user_message=False),
        case("call and result", [ASK, CALL, RESULT], LLAMA, tools=[CLOCK]),
        case("result as an object", [ASK, CALL, RESULT | {"content": {"temp": 21.5, "sky": "clear"}}, SUNNY, MORE], LLAMA),
        case("two calls", [ASK, {"role": "assistant", "tool_calls": [call("clock", {}), call("clock", {})]}], LLAMA),
        case("tools and nobody to read them", [SYSTEM], LLAMA, tools=[CLOCK]),
    ],
    "mistral": talks(SENTENCE) + [
        case("tools", [SYSTEM, ASK], SENTENCE, tools=TOOLS),
        case("call and result", [ASK, CALL, RESULT, SUNNY, MORE], SENTENCE, tools=[CLOCK]),
        case("two calls", [ASK, {"role": "assistant", "tool_calls": [call("clock", {}), call("clock", {"a": "b"}, "000000000")]},
                           RESULT, RESULT | {"content": {"content": 5}}], SENTENCE),
        case("a short id", [ASK, {"role": "assistant", "tool_calls": [call("clock", {}, "x")]}], SENTENCE),
        case("user twice", [HELLO, MORE], SENTENCE),
        case("assistant first", [FOUR, HELLO], SENTENCE),
        case("system in the middle", [HELLO, SYSTEM, FOUR], SENTENCE),
    ],
    "gemma": talks(GEMMA) + [
        case("parts", [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                       {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What is this? "},
                                                    {"type": "text", "text": "And that?"}]}], GEMMA),
        case("user twice", [HELLO, MORE], GEMMA),
        case("content is a number", [{"role": "user", "content": 5}], GEMMA),
    ],
    "gemma-strict": [
        case("one question", [HELLO], GEMMA), case("three turns", TALK[1:], GEMMA),
        case("a system message", TALK, GEMMA), case("assistant first", [FOUR], GEMMA),
    ],
    "qwen3": talks(QWEN) + [
        case("tools", [SYSTEM, ASK], QWEN, tools=TOOLS),
        case("tools, no system", [ASK], QWEN, tools=TOOLS),
        case("call and results", [ASK, CALL, RESULT, RESULT | {"content": "second"}], QWEN, tools=[WEATHER]),
        case("text and two calls", [ASK, {"role": "assistant", "content": "Let me see.",
                                          "tool_calls": [call("clock", "{\"zone\": 1}"), call("clock", {"é": "ü"})]}, RESULT], QWEN),
        case("old thoughts are dropped", [HELLO, THOUGHT, MORE], QWEN),
        case("the last thought stays", [HELLO, THOUGHT], QWEN, prompt=False),
        case("reasoning in its own field", [HELLO, {"role": "assistant", "reasoning_content": "\nSums.\n", "content": "4."}], QWEN, prompt=False),
        case("reasoning under another name", [HELLO, {"role": "assistant", "reasoning": "Sums.", "content": "4."}], QWEN, prompt=False),
        case("no thinking", [HELLO], QWEN, enable_thinking=False),
        case("thinking", [HELLO], QWEN, enable_thinking=True),
    ],
    "phi": talks({"eos_token": "<|endoftext|>"}),
    "zephyr": talks(SENTENCE),
    "reasoning": talks({"bos_token": "<｜begin▁of▁sentence｜>"}) + [
        case("thoughts are cut", [HELLO, THOUGHT, MORE], SENTENCE),
        case("two systems", [SYSTEM, {"role": "system", "content": "Be kind."}, HELLO], SENTENCE),
        case("calls and results", [ASK, CALL | {"tool_calls": CALL["tool_calls"] + [call("clock", {})]}, RESULT, RESULT], SENTENCE),
        case("result and answer", [ASK, CALL, RESULT, SUNNY, HELLO], SENTENCE),
    ],
    "typescript-tools": talks(NONE) + [
        case("tools", [ASK], tools=TOOLS, reasoning_effort="high"),
        case("thinking", [HELLO, {"role": "assistant", "content": "4.", "thinking": "Sums."}], prompt=False),
        case("thinking under another name", [HELLO, {"role": "assistant", "content": "4.", "reasoning_content": "Sums."}], prompt=False),
    ],
    "loop-controls": talks(NONE) + [
        case("stopped", [HELLO, MORE, {"role": "user", "content": "/stop"}, FOUR]),
    ],
    "generation": talks(QWEN),
    "documents": talks(SENTENCE) + [
        case("documents", TALK, SENTENCE, documents=DOCUMENTS),
        case("one document", [HELLO], SENTENCE, documents=DOCUMENTS[:1]),
        case("tools", [HELLO], SENTENCE, tools=TOOLS),
    ],
    "methods": [
        case("two messages", [{"role": "user", "content": "  Hello, world. Hello!  ", "name": "ann"},
                              {"role": "assistant", "content": "Two\nlines here."}]),
        case("letters of the world", [{"role": "user", "content": "Élan ÀB ß 🙂 ok"}, FOUR]),
        case("empty", [{"role": "user", "content": ""}, FOUR]),
    ],
    "expressions": [case("system and four turns", TALK)],
    "rare": [case("system and four turns", TALK)],
    "tests": [
        case("strings", TALK, SENTENCE),
        case("kinds", [{"role": "system", "content": "", "extra": 1, "name": None}, {"role": "user", "content": [1, 2.5, "s", {"k": 1}, [], None, True]},
                       {"role": "user", "content": {"a": 1}, "name": "ann", "extra": False}], QWEN, tools=TOOLS, documents=[], flag=True),
        case("a false flag", [HELLO], flag=False),
    ],
    "whitespace": [case("two messages", [HELLO, FOUR])],
    "python-values": [
        case("values", [{"role": "user", "content": {"z": 1, "a": [1.0, True, None, "é<>&'\"\\/\n\t\u007f\u2028🙂"], "e": {}, "l": [], "f": 1e20, "n": -0.0}},
                        {"role": "user", "content": "plain \"text\" 🙂"}, {"role": "user", "content": [{"a": 1}, [1, [2]]]},
                        {"role": "user", "content": 0.1}, {"role": "user", "content": True}, {"role": "user", "content": 12345678901234567890}]),
    ],
}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def tokenizer_with(special: dict) -> PreTrainedTokenizerFast:
    vocab = {token: i for i, token in enumerate(["<unk>", *special.values()])}
    inner = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def outcome(template: str, given: dict) -> dict:
    tokenizer = tokenizer_with(given["special_tokens"])
    try:
        return {"text": tokenizer.apply_chat_template(
            given["messages"], chat_template=template, tools=given["tools"], documents=given["documents"],
            add_generation_prompt=given["add_generation_prompt"], tokenize=False, **given["variables"])}
    except jinja2.exceptions.TemplateError as error:
        if type(error) is jinja2.exceptions.TemplateError:  # what raise_exception raises
            return {"raised": error.message}
        print("   ", type(error).__name__, error)
        return {"fails": True}
    except Exception as error:
        print("   ", type(error).__name__, error)
        return {"fails": True}


def main() -> None:
    chat_template_utils.datetime = Clock
    folder = pathlib.Path(__file__).parent / "chat"
    templates = []
    assert set(CASES) == {path.stem for path in folder.glob("*.jinja")}
    for name, cases in CASES.items():
        template = (folder / f"{name}.jinja").read_text()
        rows = []
        for given in cases:
            result = outcome(template, json.loads(json.dumps(given)))
            print(name, "|", given["label"], "|", next(iter(result)))
            rows.append(given | result)
        templates.append({"name": name, "template": template, "cases": rows})
    out = pathlib.Path(__file__).parent.parent / "fixtures" / "chat_templates.json"
    text = json.dumps(
        {"transformers": transformers.__version__, "jinja2": jinja2.__version__,
         "now": NOW.isoformat(), "templates": templates}, ensure_ascii=False, indent=1)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main()
