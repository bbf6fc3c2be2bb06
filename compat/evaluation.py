"""lm-eval's `local-completions` against a running server: loglikelihoods by echo, prompts as token ids and as text.

    python evaluation.py http://127.0.0.1:8080 MODEL --gguf MODEL.gguf
    python evaluation.py http://127.0.0.1:8080 MODEL --tokenizer FOLDER

Two small tasks of our own, so nothing is fetched: multiple choice (loglikelihood) and generation (generate_until).
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false",
    TQDM_DISABLE="1", TRANSFORMERS_VERBOSITY="error", LOGLEVEL="ERROR")
ORACLE = pathlib.Path(__file__).resolve().parent.parent / "oracle"

QUESTIONS = [
    ("The capital of France is", ["Paris", "cheese", "seven", "running"], 0),
    ("Water freezes into", ["music", "ice", "Tuesday", "letters"], 1),
    ("The opposite of hot is", ["window", "green", "cold", "bread"], 2),
    ("A week has seven", ["oceans", "trees", "engines", "days"], 3),
    ("One, two, three,", ["four", "purple", "yesterday", "Berlin"], 0),
    ("The sun rises in the", ["bottle", "east", "keyboard", "sock"], 1),
    ("Two plus two equals", ["horse", "sky", "four", "slowly"], 2),
    ("Fish live in the", ["alphabet", "song", "piano", "water"], 3),
]

CHOICE = """
task: stablemate_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{label}}"
metric_list: [{metric: acc}]
"""
GENERATION = """
task: stablemate_generation
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[label]}}"
generation_kwargs: {until: ["."], max_gen_toks: 8, do_sample: false, temperature: 0.0}
metric_list: [{metric: exact_match}]
"""


def tokenizer_from_gguf(path: str, folder: pathlib.Path) -> str:
    """A folder with the tokenizer of a GGUF file. transformers' own conversion forgets `tokenizer.ggml.pre`; the oracle's does not."""
    sys.path.insert(0, str(ORACLE))
    import gguf
    from gguf_tokenizer import build
    from transformers import PreTrainedTokenizerFast

    fields = gguf.GGUFReader(path).fields
    value = lambda name: fields[f"tokenizer.ggml.{name}"].contents()
    tokens = value("tokens")
    tokenizer = build(tokens, value("token_type"), value("merges"), value("pre"))
    end = tokens[value("eos_token_id")]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end).save_pretrained(folder)
    return str(folder)


def evaluate(arguments, tasks: pathlib.Path, tokenizer: str, token_ids: bool) -> dict:
    import lm_eval
    from lm_eval.tasks import TaskManager

    model_args = {
        "model": arguments.model,
        "base_url": arguments.url.rstrip("/") + "/v1/completions",
        "tokenizer_backend": "huggingface",
        "tokenizer": tokenizer,
        "tokenized_requests": token_ids,
        "num_concurrent": 2,
        "max_length": 2048,
        "max_retries": 1,
    }
    return lm_eval.simple_evaluate(
        model="local-completions", model_args=model_args, tasks=["stablemate_choice", "stablemate_generation"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False), log_samples=True, bootstrap_iters=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="the server, without a path")
    parser.add_argument("model")
    parser.add_argument("--api-key", default="none")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--gguf", help="the model's file, for its tokenizer")
    source.add_argument("--tokenizer", help="a folder with the model's tokenizer")
    parser.add_argument("--accuracy", type=float, default=0.75, help="share of right choices that is wanted (default: 0.75)")
    arguments = parser.parse_args()
    os.environ["OPENAI_API_KEY"] = arguments.api_key

    failures, samples = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        os.environ["HF_HOME"] = str(folder / "cache")
        data = folder / "questions.jsonl"
        rows = [{"question": question, "choices": choices, "label": label} for question, choices, label in QUESTIONS]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        tasks = folder / "tasks"
        tasks.mkdir()
        for task, text in [("choice", CHOICE), ("generation", GENERATION)]:
            (tasks / f"{task}.yaml").write_text(text.replace("DATA", str(data)))
        tokenizer = arguments.tokenizer or tokenizer_from_gguf(arguments.gguf, folder / "tokenizer")
        for token_ids in [True, False]:
            result = evaluate(arguments, tasks, tokenizer, token_ids)
            accuracy = result["results"]["stablemate_choice"]["acc,none"]
            exact = result["results"]["stablemate_generation"]["exact_match,none"]
            kind = "token ids" if token_ids else "text"
            print(f"prompts as {kind}: accuracy {accuracy:.3f}, generated exactly {exact:.3f}", flush=True)
            if accuracy < arguments.accuracy:
                failures.append(f"accuracy {accuracy:.3f} with prompts as {kind}; {arguments.accuracy} is wanted")
            samples[token_ids] = (responses(result, "stablemate_choice"), responses(result, "stablemate_generation"))
    if samples[True][1] != samples[False][1]:
        failures.append("generated texts differ between token ids and text")
    pairs = [(a, b) for first, second in zip(samples[True][0], samples[False][0]) for a, b in zip(first, second)]
    worst = max(abs(float(a[0]) - float(b[0])) for a, b in pairs)
    print(f"loglikelihoods by token ids and by text differ by at most {worst:.2g}")
    if worst > 1e-3 or not all(float(a[0]) < 0 for a, _ in pairs):
        failures.append(f"loglikelihoods differ by {worst:.3g}, or are not below 0")
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"evaluation: {'failed' if failures else 'passed'}")
    sys.exit(1 if failures else 0)


def responses(result: dict, task: str) -> list:
    samples = sorted(result["samples"][task], key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples]


if __name__ == "__main__":
    main()
