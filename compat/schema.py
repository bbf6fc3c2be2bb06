"""schemathesis: requests made from the server's own OpenAPI description, good ones and bad ones, and checks of the answers.

    python schema.py http://127.0.0.1:8080 MODEL

The server should have a small context and answer shortly: --ctx-size 256 --max-tokens 4. Two passes: the description as it
is, with data that it allows and data that it forbids, where most answers are refusals; then a narrowed one, of which the
requests are to be answered, so that the form of answers is checked too. No answer may be a 5xx, have a status, type or form
that is not described; what is forbidden must be refused.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
# Checks of requests that are to be refused.
REFUSALS = ["negative_data_rejection", "unsupported_method", "allow_header_conformance"]
TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
TOKENS = {"type": "array", "minItems": 1, "maxItems": 20, "items": {"type": "integer", "minimum": 0, "maximum": 1000}}
MESSAGE = {"type": "object", "required": ["role", "content"], "additionalProperties": False,
           "properties": {"role": {"enum": ["user", "assistant"]}, "content": TEXT}}
# Properties of requests, and what of them is answered for certain, and soon.
NARROWED = {
    "max_tokens": {"type": "integer", "minimum": 1, "maximum": 8},
    "max_completion_tokens": {"type": "integer", "minimum": 1, "maximum": 8},
    "max_output_tokens": {"type": "integer", "minimum": 1, "maximum": 8},
    "n": {"enum": [1, 2]},
    "best_of": {"enum": [1]},
    "messages": {"type": "array", "minItems": 1, "maxItems": 3, "items": MESSAGE},
    "prompt": {"oneOf": [TEXT, TOKENS, {"type": "array", "minItems": 1, "maxItems": 3, "items": TEXT}]},
    "input": TEXT,
    "stop": {"type": "array", "maxItems": 3, "items": TEXT},
    "stop_sequences": {"type": "array", "maxItems": 3, "items": TEXT},
    "response_format": {"enum": [{"type": "text"}, {"type": "json_object"}]},
    "modalities": {"enum": [["text"]]},
    "service_tier": {"enum": ["auto"]},
    "store": {"enum": [False]},
    "tokens": TOKENS,
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
}
# Properties that are answered only beside certain others, or not by every model. The first pass has them.
DEPENDENT = {"add_generation_prompt", "chat_template_kwargs", "continue_final_message", "dimensions", "include", "logit_bias",
             "min_tokens", "parallel_tool_calls", "reasoning", "reasoning_effort", "stop_token_ids", "stream_options",
             "structured_outputs", "suffix", "text", "thinking", "tool_choice", "tools", "top_logprobs"}


def whole_streams(description: dict) -> dict:
    """Without schemas of event streams: ours are of the whole stream, schemathesis takes them for one of each event."""
    for path in description["paths"].values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                response.get("content", {}).get("text/event-stream", {}).pop("schema", None)
    return description


def narrowed(description: dict, model: str) -> dict:
    description = json.loads(json.dumps(description))
    for path in description["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                if schema := description["components"]["schemas"].get(name):
                    narrow(schema, model)
    return description


def narrow(schema: dict, model: str):
    properties = schema.get("properties", {})
    for name in list(properties):
        if name in DEPENDENT and name not in schema.get("required", []):
            del properties[name]
        elif name == "model":
            properties[name] = {"enum": [model]}
        elif name in NARROWED:
            properties[name] = NARROWED[name]


def schemathesis(source: str, url: str, folder: pathlib.Path, *options: str) -> tuple[int, list[dict]]:
    """Runs it, with its output where ours goes; its status and the events it reports."""
    report = folder / "events.ndjson"
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "run", source, "--url", url, "--continue-on-failure"]
    command += ["--request-timeout", "60", "--suppress-health-check", "all", "--generation-database", "none"]
    command += ["--warnings", "off", "--report", "ndjson", "--report-ndjson-path", str(report), *options]
    run = subprocess.run(command, cwd=folder, env={**os.environ, "NO_COLOR": "1", "PYTHONUTF8": "1"})
    return run.returncode, [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def statuses(events: list[dict]) -> dict[str, collections.Counter]:
    """Of each operation, how many answers had which status."""
    counts = collections.defaultdict(collections.Counter)
    for event in events:
        recorder = event.get("ScenarioFinished", {}).get("recorder", {})
        for interaction in recorder.get("interactions", {}).values():
            response = interaction.get("response") or {}
            counts[recorder["label"]][response.get("status_code", 0)] += 1
    return counts


def show(counts: dict[str, collections.Counter]):
    for operation, counter in sorted(counts.items()):
        print(f"{operation:32} " + ", ".join(f"{count} of {status or 'no answer'}" for status, count in sorted(counter.items())))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="the server, without a path")
    parser.add_argument("model")
    parser.add_argument("--max-examples", type=int, default=100, help="cases of each operation and phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--api-key", help="if the server wants one")
    arguments = parser.parse_args()
    url = arguments.url.rstrip("/")
    headers = {"Authorization": f"Bearer {arguments.api_key}"} if arguments.api_key else {}
    with urllib.request.urlopen(urllib.request.Request(url + "/openapi.json", headers=headers)) as answer:
        description = whole_streams(json.load(answer))
    options = ["--max-examples", str(arguments.max_examples), "--seed", str(arguments.seed)]
    options += [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    failed = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for title, source, choice in (
            ("as described", description, ["--mode", "all", "--phases", "coverage,fuzzing", "--checks", ",".join(CHECKS + REFUSALS)]),
            ("to be answered", narrowed(description, arguments.model), ["--mode", "positive", "--phases", "fuzzing", "--checks", ",".join(CHECKS)]),
        ):
            print(f"== {title}", flush=True)
            file = folder / "openapi.json"
            file.write_text(json.dumps(source))
            status, events = schemathesis(str(file), url, folder, *options, *choice)
            counts = statuses(events)
            show(counts)
            if status or not counts:
                failed.append(title)
    # Nothing can be said of answers that never came. A model is found only under its name, which is not generated.
    unanswered = [operation for operation, counter in counts.items() if not counter[200] and "model}" not in operation]
    if unanswered:
        failed.append("never answered: " + ", ".join(unanswered))
    print("schema: " + (f"failed ({'; '.join(failed)})" if failed else "all is well"), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
