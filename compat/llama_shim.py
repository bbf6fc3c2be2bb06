"""Stands in for llama-server: translates its flags to ours and becomes `stablemate serve`.

The tests of llama.cpp start their server themselves, a new one for each test. `llama_suite.py` writes a launcher that
runs this, with the command of our server in STABLEMATE_COMMAND (JSON). The model is always that of the command: the
models that the tests name are fetched from a hub.
"""

import json
import os
import pathlib
import sys
import tempfile

# Requests of the tests name these, since llama-server does not look at the name. Here a model has the names it was given.
NAMES = ["test", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "davinci-002", "gpt-4.1", "text-embedding-3-small",
         "codellama70b"]
# llama-server's "localhost" is every port of this machine. Origins are listed here: those that the tests use.
LOCAL_ORIGINS = ["http://localhost", "http://localhost:8080", "http://127.0.0.1", "http://127.0.0.1:3000", "http://[::1]",
                 "http://[::1]:3000"]
# A built-in template of llama.cpp by name, and the file with the model's original. Others: None for the model's own.
TEMPLATES = {"chatml": None, "llama3": "../../../models/templates/meta-llama-Llama-3.1-8B-Instruct.jinja"}
# Flags that take a value, and flags that take none, of which the tests that run do not depend: they name the model, say
# how the work is cut, set defaults of sampling, or switch on what is on here.
IGNORED_VALUES = {"--temp", "--seed", "--batch-size", "--ubatch-size", "--hf-repo", "--hf-file", "--model", "--n-gpu-layers",
                  "-fa", "--pooling", "--reasoning-format"}
IGNORED = {"--offline", "--embedding", "--no-slots", "--jinja", "--no-jinja", "--cont-batching", "--verbose"}
REFUSED = {("--pooling", "none")}
TRANSLATED = {"--port", "--host", "--threads", "--api-key", "--alias", "--parallel", "--ctx-size", "--n-predict",
              "--chat-template", "--chat-template-file", "--cors-origins"}
SWITCHES = {"--metrics", "--kv-unified"}


def parse(words: list[str]) -> dict:
    """The flags that matter. Any that is not known here ends the program: what the test asks for does not exist."""
    found, words = {}, iter(words)
    for word in words:
        if word in TRANSLATED:
            found[word] = next(words)
        elif word in SWITCHES:
            found[word] = True
        elif word in IGNORED_VALUES:
            if (word, next(words)) in REFUSED:
                sys.exit(f"llama_shim: no equivalent of this {word}")
        elif word not in IGNORED:
            sys.exit(f"llama_shim: no equivalent of {word}")
    return found


def template(name: str) -> str | None:
    """The file of a template that is given by name or as text; None for the model's own."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    if "-" in name and " " not in name:
        sys.exit(f"llama_shim: no template {name}")
    # The server reads it after this process has become that server: it stays in the folder of this run.
    path = pathlib.Path(tempfile.mkdtemp(dir=os.environ["LLAMA_SUITE_FOLDER"]), "template.jinja")
    path.write_text(name)
    return str(path)


def translate(found: dict) -> list[str]:
    parallel = int(found.get("--parallel", 4))
    options = ["--parallel", str(parallel)]
    for flag in ("--port", "--host", "--threads", "--api-key"):
        if flag in found:
            options += [flag, found[flag]]
    if "--ctx-size" in found:
        # There the context is divided among the sequences; here it is each one's.
        size = int(found["--ctx-size"])
        options += ["--ctx-size", str(size if "--kv-unified" in found else size // parallel)]
    if int(found.get("--n-predict", -1)) > 0:
        options += ["--max-tokens", found["--n-predict"]]
    for name in [*filter(None, found.get("--alias", "").split(",")), *NAMES]:
        options += ["--alias", name]
    path = found.get("--chat-template-file") or template(found.get("--chat-template", "chatml"))
    options += ["--chat-template-file", path] if path else []
    for origin in filter(None, found.get("--cors-origins", "").split(",")):
        for one in LOCAL_ORIGINS if origin == "localhost" else [origin]:
            options += ["--cors-origin", one]
    return options if "--metrics" in found else [*options, "--no-metrics"]


if __name__ == "__main__":
    command = [*json.loads(os.environ["STABLEMATE_COMMAND"]), *translate(parse(sys.argv[1:]))]
    os.execvp(command[0], command)
