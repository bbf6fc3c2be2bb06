"""llama.cpp's own tests of its server, from the source distribution of llama-cpp-python, with our server in its place.

    python llama_suite.py target/release/stablemate MODEL.gguf --data-folder target/stablemate-data

The tests start a server each, so this takes the program and the model and not an address. `llama_shim.py` translates the
flags of llama-server; `llama_plugin.py` says what is taken for equal (what their model writes, and two differences of form).
MODEL.gguf should follow chat instructions; the list below is reviewed with SmolLM2-135M-Instruct.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree

VERSION = "0.3.36"
TESTS = "vendor/llama.cpp/tools/server/tests"
PARTS = [TESTS, "vendor/llama.cpp/models/templates"]
HERE = pathlib.Path(__file__).resolve().parent

# What is not run, and why; the first pattern that is found in a test's id counts. Whatever else fails is a failure.
# Tests that would pass for a reason other than what they test (a 404 where an error is expected) are listed as well.
NOT_APPLICABLE = [
    # Endpoints of llama.cpp alone.
    (r"/test_completion.py::(?!test_completion_(stream_)?with_openai_library)", "/completion: llama.cpp's own form of completions"),
    (r"/test_(ignore_eos|ctx_shift).py::(?!test_ctx_shift_disabled_stream)", "/completion: llama.cpp's own form of completions"),
    (r"/test_basic.py::test_load_split_model", "/completion: llama.cpp's own form of completions"),
    (r"/test_security.py::test_correct_api_key", "/completions is the same as /v1/completions here, there the same as /completion"),
    (r"/test_basic.py::test_server_(props|slots)|/test_(kv_keep_only_active|slot_save).py", "/props and /slots: there are no slots"),
    (r"/test_sleep.py", "a server that unloads its model when idle, seen in /props"),
    (r"/test_template.py|::test_apply_chat_template|_thinking_history_in_template", "/apply-template: shows a prompt"),
    (r"/test_chat_completion.py::test_chat_completions_token_count", "/chat/completions/input_tokens: counts a prompt"),
    (r"/test_compat_gcp.py", "/predict: the form of Google's Vertex"),
    (r"/test_infill.py", "/infill"),
    (r"/test_rerank.py", "/rerank: needs a model that ranks"),
    (r"/test_metrics.py|/test_metrics_", "/metrics: names of llama.cpp's; ours are vLLM's with our prefix, and off is a 404"),
    # Subjects that do not exist here.
    (r"/test_lora.py", "LoRA adapters"),
    (r"/test_speculative.py", "a draft model"),
    (r"/test_(router|stream).py|::test_cors_origins_defaults_to_localhost_with_tools", "router mode: several models behind one server"),
    (r"/test_vision_api.py|::test_local_media_file|_with_multimodal_model", "images: needs a model that sees"),
    (r"::test_anthropic_(vision_format_accepted|tool_result_with_image)", "images: expects status 500; here they are a 400"),
    (r"/test_(mcp_servers|tools_builtin|proxy).py|::test_cors_proxy_", "a server that runs tools and forwards requests"),
    (r"::test_server_multiple_addresses", "several addresses in --host"),
    (r"::test_no_ui", "--no-ui: the page is one static file"),
    (r"::test_access_static_assets", "names of the files of llama.cpp's page"),
    # Parameters of llama.cpp alone: an unknown parameter is refused by name.
    (r"::test_ctx_shift_disabled_stream", "n_predict: refused by name"),
    (r"::test_completion_with_(json_schema|grammar|invalid_grammar)", "json_schema and grammar beside response_format: refused by name"),
    (r"::test_completion_with_response_format\[response_format[01567]-", "schema beside json_object: refused by name"),
    (r"::test_(chat_completion_with_timings_per_token|return_progress|responses_stream_with_llama_telemetry)",
     "timings_per_token and return_progress: refused by name"),
    (r"::test_chat_completions_multiple_choices", "id_slot: refused by name"),
    (r"::test_verbose_debug|/test_chat_completion.py::test_chat_template(?!_continue_final_message_mutual)", "__verbose in an answer"),
    # Differences of policy.
    (r"::test_server_model(s$|_aliases)|/test_chat_completion.py::test_chat_completion_stream",
     "an alias is one more name of the model here, there its first; tags"),
    (r"::test_cors_options", "other sites' pages may ask only if --cors-origin names them"),
    (r"::test_context_size_exceeded", "error type exceed_context_size_error; here OpenAI's, code context_length_exceeded, with both numbers"),
    (r"::test_embedding_error_prompt_too_long", "words of an error message"),
    (r"::test_invalid_chat_completion_req\[messages7\]", "two assistant messages at the end: whether that may be is the template's to say"),
    (r"::test_anthropic_thinking$", "thinking asked of a model that does not think: a 400, there without effect"),
    (r"::test_anthropic_empty_messages", "no messages: a 400 as with Anthropic"),
    (r"::test_embedding_mixed_input\[-False\]", "an empty input: a 400 as with OpenAI"),
    (r"::test_embedding_mixed_input\[input([35789]|10)-|::test_embedding_content_text_same_as_string",
     "embeddings of lists that mix text and tokens, and of objects: OpenAI's forms alone are taken"),
    (r"::test_embedding_pooling_none", "pooling none"),
    # Properties of a model that is not at hand.
    (r"::test_chat_completion_cached_tokens|::test_embedding_usage_multiple|::test_tokenize_with_bos", "counts or tokens of another tokenizer"),
    (r"::test_completion_with_openai_library|::test_chat_completion_with_openai_library",
     "a system_fingerprint that begins with b, llama.cpp's build number, through the OpenAI library"),
    (r"/test_chat_completion.py::test_logprobs_stream", 'a first chunk with content null; "" here as with OpenAI, through the OpenAI library'),
    (r"::test_completion_with_required_tool_real_model\[.*(gemma-2|Phi-3.5|Qwen2.5|Hermes-3|Llama-3.2-1B|DeepSeek)",
     "the same as another case: only the model would differ"),
    (r"::test_completion_with_required_tool_real_model\[.*-code-.*Hermes-2-Pro.*template_override",
     "SmolLM2 does not end its program within the tokens allowed"),
    (r"::test_(weather|calc_result|thoughts|hello_world)\[|_with_reasoning_model|_with_openai_library_stops",
     "what a certain larger model writes"),
]


def fetch(folder: pathlib.Path) -> pathlib.Path:
    """The tests and the templates that they use, out of the source distribution."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    package = ["--no-binary", "llama_cpp_python", f"llama_cpp_python=={VERSION}"]
    subprocess.run([*command, "--dest", str(folder), *package], check=True)
    archive = next(folder.glob("llama_cpp_python-*.tar.gz"))
    root = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as tar:
        wanted = tuple(f"{root}/{part}/" for part in PARTS)
        tar.extractall(folder, [member for member in tar if member.name.startswith(wanted)], filter="data")
    archive.unlink()
    return folder / root


def environment(arguments: argparse.Namespace, source: pathlib.Path, folder: pathlib.Path) -> dict:
    command = [str(arguments.program.resolve())]
    for option in ("data_folder", "cache_folder"):
        if path := getattr(arguments, option):
            command += ["--" + option.replace("_", "-"), str(path.resolve())]
    launcher = folder / "llama-server"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(HERE / "llama_shim.py")])} "$@"\n')
    launcher.chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("STABLEMATE_", "LLAMA_"))},
        "STABLEMATE_COMMAND": json.dumps([*command, "serve", str(arguments.model.resolve())]),
        "LLAMA_SERVER_BIN_PATH": str(launcher),
        "LLAMA_SUITE_FOLDER": str(folder),
        "PORT": str(arguments.port),
        "PYTHONPATH": os.pathsep.join([str(source / TESTS), str(HERE)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def pytest(source: pathlib.Path, environment: dict, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-p", "llama_plugin", "-p", "no:cacheprovider", "-q", *options, "unit"]
    return subprocess.run(command, cwd=source / TESTS, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def results(path: pathlib.Path):
    """Of each test: its id, what became of it, what was taken for equal, and the first line of what went wrong."""
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        test = case.get("classname").replace(".", "/") + ".py::" + case.get("name")
        adapted = [entry.get("value") for entry in case.iter("property") if entry.get("name") == "adapted"]
        problem = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        if problem is not None:
            yield test, "failed", adapted, ((problem.get("message") or "").splitlines() or [""])[0][:300]
        elif (skipped := case.find("skipped")) is not None:
            yield test, "not applicable", adapted, "skipped by the test itself: " + skipped.get("message", "")
        else:
            yield test, "adapted" if adapted else "passed", adapted, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path, help="stablemate")
    parser.add_argument("model", type=pathlib.Path, help="a GGUF file")
    parser.add_argument("--data-folder", type=pathlib.Path, help="where `stablemate setup` put the compiler")
    parser.add_argument("--cache-folder", type=pathlib.Path, help="where compiled models are kept")
    parser.add_argument("--port", type=int, default=8392)
    parser.add_argument("--source", type=pathlib.Path, help="the unpacked source distribution, if it is there already")
    parser.add_argument("--only", default="", metavar="REGEX", help="only tests whose id has this")
    parser.add_argument("--log", type=pathlib.Path, help="a file for the output of pytest and the servers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        source = (arguments.source or fetch(folder)).resolve()
        variables = environment(arguments, source, folder)
        listed = pytest(source, variables, "--collect-only")
        tests = [line for line in listed.stdout.splitlines() if line.startswith("unit/") and "::" in line]
        if listed.returncode or not tests:
            sys.exit(f"the tests cannot be collected:\n{listed.stdout[-3000:]}")
        tests = [test for test in tests if re.search(arguments.only, test)]
        left_out = {test: reason for test in tests if (reason := not_applicable(test))}
        chosen = [test for test in tests if test not in left_out]
        pathlib.Path(folder, "tests").write_text("\n".join(chosen))
        output = folder / "result.xml"
        run = pytest(source, {**variables, "LLAMA_SUITE_TESTS": str(folder / "tests")}, "--tb=short", "--timeout=120", f"--junitxml={output}")
        if arguments.log:
            arguments.log.write_text(run.stdout)
        if not output.exists():
            sys.exit(f"pytest did not run:\n{run.stdout[-3000:]}")
        found = list(results(output))
    if len(found) != len(chosen):
        sys.exit(f"{len(chosen)} tests were to run, but {len(found)} have a result:\n{run.stdout[-3000:]}")
    found += [(test, "not applicable", [], reason) for test, reason in left_out.items()]
    show(found)
    counts = collections.Counter(outcome for _, outcome, _, _ in found)
    sys.exit(1 if counts["failed"] or not counts["passed"] else 0)


def not_applicable(test: str) -> str | None:
    return next((reason for pattern, reason in NOT_APPLICABLE if re.search(pattern, test)), None)


def show(found: list[tuple]):
    columns = ["passed", "adapted", "not applicable", "failed"]
    counts = collections.defaultdict(collections.Counter)
    for test, outcome, _, _ in found:
        for row in (test.split("::")[0].removeprefix("unit/"), "in all"):
            counts[row][outcome] += 1
    print(f"| {'file':30} | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
    for row in sorted(counts, key=lambda row: (row == "in all", row)):
        print(f"| {row:30} | " + " | ".join(f"{counts[row][column]:>{len(column)}}" for column in columns) + " |")
    for title, values in (
        ("adapted", [entry for _, outcome, adapted, _ in found if outcome == "adapted" for entry in adapted]),
        ("not applicable", [text for _, outcome, _, text in found if outcome == "not applicable"]),
    ):
        for value, count in collections.Counter(values).most_common():
            print(f"{count:4} {title}: {value}")
    for test, outcome, _, text in found:
        if outcome == "failed":
            print(f"FAILED {test}: {text}")


if __name__ == "__main__":
    main()
