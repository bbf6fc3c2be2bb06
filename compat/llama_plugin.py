"""Fits llama.cpp's server tests to another server and model. `llama_suite.py` gives it to pytest with -p.

Nothing is downloaded. A test in which something of the following is taken for equal is marked, so that the table can tell.
"""

import os
import pathlib

import pytest
import requests
import utils

# What stories260K writes, by the tests' regular expressions. Any text that is not empty passes instead.
TEXTS = {"But she couldn't", '(Suddenly)+|\\{ " Sarax.', "(Suddenly)+", "^ blue", "(Aside|she|felter|alonger)+", "Whillicter",
         "(going|bed)+"}
# Parameters of tests: tokens of a prompt, with stories260K's tokenizer.
COUNTS = {"n_prompt", "n_tokens"}

TEXT = "text and counts of stories260K: any text that is not empty, any positive count"
FINGERPRINT = "the first letter of system_fingerprint, there the b of a build number"
FIRST_CHUNK = 'the first chunk\'s content: "" as with OpenAI, there null'

compare, running = utils.match_regex, None


def mark(what: str):
    if running is not None and ("adapted", what) not in running.user_properties:
        running.user_properties.append(("adapted", what))


class AnyCount:
    """Equal to every positive number."""

    __hash__ = None

    def __eq__(self, other) -> bool:
        mark(TEXT)
        return isinstance(other, int) and not isinstance(other, bool) and other > 0


class Fingerprint(str):
    """Begins with any letter."""

    def startswith(self, *arguments) -> bool:
        mark(FINGERPRINT)
        return self != ""


def match(regex: str, text: str) -> bool:
    if regex not in TEXTS:
        return compare(regex, text)
    mark(TEXT)
    return isinstance(text, str) and text != ""


def adapt(body):
    """An answer or a chunk of one, with the two differences of form taken out."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("system_fingerprint"), str):
        body["system_fingerprint"] = Fingerprint(body["system_fingerprint"])
    for choice in body.get("choices") or []:
        if choice.get("delta") == {"role": "assistant", "content": ""}:
            mark(FIRST_CHUNK)
            choice["delta"]["content"] = None
    return body


class Server(utils.ServerProcess):
    """Theirs, with what it receives adapted, and names of headers read without regard to case, as HTTP has it."""

    def make_request(self, *arguments, **options):
        answer = super().make_request(*arguments, **options)
        answer.headers = requests.structures.CaseInsensitiveDict(answer.headers)
        answer.body = adapt(answer.body)
        return answer

    def make_stream_request(self, *arguments, **options):
        for chunk in super().make_stream_request(*arguments, **options):
            yield adapt(chunk)


def pytest_configure(config):
    # The test files take these names when they are imported, which is later.
    utils.ServerPreset.load_all = staticmethod(lambda: None)
    utils.match_regex = match
    utils.ServerProcess = Server


def pytest_collection_modifyitems(items):
    if path := os.environ.get("LLAMA_SUITE_TESTS"):
        chosen = set(pathlib.Path(path).read_text().split("\n"))
        items[:] = [item for item in items if item.nodeid in chosen]
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        for name in COUNTS & parameters.keys():
            parameters[name] = AnyCount()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    global running
    running = item
    try:
        return (yield)
    finally:
        running = None
