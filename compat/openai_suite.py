"""openai-python's own tests of completions, chat completions and models, from its source distribution.

    python openai_suite.py http://127.0.0.1:8080 MODEL

The tests look at the form of answers. Theirs are fixed names of models; the model's name is put in their place.
They use a key of their own: the server must want none.
"""

import argparse
import collections
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree

FILES = ["test_completions.py", "chat/test_completions.py", "test_models.py"]
NAMES = ["gpt-3.5-turbo-instruct", "gpt-6-astra"]
# What is not run, and why. Whatever else fails is a failure.
DESELECTED = [
    (r"/api_resources/test_completions.*_with_all_params_",
     "sends best_of 0, suffix, stream_options without stream and a logit_bias of the token \"foo\": refused by name"),
    (r"/chat/test_completions.*create_with_all_params_",
     "sends audio, web search, max_tokens 0 beside max_completion_tokens 0 and tools whose schema is no schema: refused by name"),
    (r"/chat/test_completions.*_(retrieve|update|list|delete|list_with_all_params)\[",
     "stored completions: nothing is stored"),
    (r"/test_models.*_delete\[", "deletes a model: models are not managed here"),
]
# They check the client alone and ask nothing of a server.
LOCAL = re.compile(r"test_path_params_")


def fetch(folder: pathlib.Path) -> pathlib.Path:
    """The unpacked source distribution of the installed version."""
    version = importlib.metadata.version("openai")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), f"openai=={version}"], check=True)
    archive = next(folder.glob("openai-*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def pytest(source: pathlib.Path, environment: dict, *options: str) -> subprocess.CompletedProcess:
    # The tests import the installed client, not the one beside them; -n and --durations of their own settings are left out.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-q", *options]
    paths = [f"tests/api_resources/{name}" for name in FILES]
    return subprocess.run([*command, *paths], cwd=source, env=environment, capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="the server, without a path")
    parser.add_argument("model")
    parser.add_argument("--sdist", type=pathlib.Path, help="the unpacked source distribution, if it is there already")
    arguments = parser.parse_args()
    environment = {**os.environ, "TEST_API_BASE_URL": arguments.url.rstrip("/") + "/v1"}
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.sdist or fetch(pathlib.Path(folder))
        for path in (source / "tests" / "api_resources" / name for name in FILES):
            text = path.read_text()
            for name in NAMES:
                text = text.replace(f'"{name}"', repr(arguments.model))
            path.write_text(text)

        listed = pytest(source, environment, "--collect-only")
        tests = [line for line in listed.stdout.splitlines() if "::" in line and not line.startswith("ERROR")]
        if listed.returncode or not tests:
            sys.exit(f"the tests cannot be collected:\n{listed.stdout[-3000:]}{listed.stderr[-2000:]}")
        left_out = {}
        for test in tests:
            reason = next((reason for pattern, reason in DESELECTED if re.search(pattern, test)), None)
            if reason and not LOCAL.search(test):
                left_out[test] = reason
        result_file = pathlib.Path(folder, "result.xml")
        options = [part for test in left_out for part in ("--deselect", test)]
        result = pytest(source, environment, f"--junitxml={result_file}", *options)
        if not result_file.exists():
            sys.exit(f"pytest did not run:\n{result.stdout[-3000:]}{result.stderr[-2000:]}")
        failed, counts = [], collections.defaultdict(collections.Counter)
        for case in xml.etree.ElementTree.parse(result_file).iter("testcase"):
            file = case.get("classname").replace("tests.api_resources.", "").rsplit(".", 1)[0].replace(".", "/") + ".py"
            bad = case.find("failure") is not None or case.find("error") is not None
            kind = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
            counts[file][kind] += 1
            if bad:
                problem = case.find("failure") if case.find("failure") is not None else case.find("error")
                failed.append(f"{file} {case.get('name')}: {(problem.get('message') or '').splitlines()[0][:300]}")
    for test in left_out:
        counts[test.split("::")[0].removeprefix("tests/api_resources/")]["deselected"] += 1
    show(counts, left_out, failed)
    sys.exit(1 if failed or result.returncode else 0)


def show(counts: dict, left_out: dict, failed: list[str]):
    columns = ["passed", "failed", "skipped", "deselected"]
    print(f"| {'file':24} | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
    for file, counter in sorted(counts.items()):
        print(f"| {file:24} | " + " | ".join(f"{counter[column]:>{len(column)}}" for column in columns) + " |")
    for reason, count in collections.Counter(left_out.values()).items():
        print(f"{count} deselected: {reason}")
    for line in failed:
        print(f"FAILED {line}")


if __name__ == "__main__":
    main()
