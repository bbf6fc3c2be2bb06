"""fixtures/<case>/config.json and expected.json: tiny models and what transformers generates with them.

    python make_fixtures.py [--out ../fixtures] [case …]

For every case of cases/: write config.json, build the model from that file, fill a safetensors checkpoint from
weights.py, load it with from_pretrained (float32, eager attention and experts), and generate 32 tokens greedily with
`model.generate` and its cache. Prompts are tried in a fixed order until the text varies and no step is a near tie.
Then the answer is questioned: decoding by hand with the cache, recomputing without a cache, a float64 run, and,
for a transformers-4 style file, the same model spelled in the transformers-5 way. The report tells how far the
logits move when one feature is left out; a fixture whose feature does not bite proves nothing.
"""

import argparse
import contextlib
import inspect
import json
import math
import pathlib
import re
import tempfile
import warnings

import numpy as np
import torch
import transformers
from transformers import AutoConfig, DynamicCache

from cases import CASES
from checkpoint import load, storage, tensor_table, text, write_checkpoint, write_config, write_reference_config
from weights import fnv1a, mix

NEW_TOKENS = 32
GAP = 0.02
DISTINCT = 10
ATTEMPTS = 400
ROUTING = 1e-4


# ---- running ----------------------------------------------------------------------------------------------------


def generate(model, prompt: list[int]) -> tuple[list[int], torch.Tensor]:
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, use_cache=True,
        max_new_tokens=NEW_TOKENS, return_dict_in_generate=True, output_logits=True,
    )
    tokens = out.sequences[0, len(prompt):].tolist()
    logits = torch.stack([step[0] for step in out.logits])
    assert len(tokens) == NEW_TOKENS and logits.argmax(-1).tolist() == tokens
    return tokens, logits


@torch.no_grad()
def chain(model, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    """Logits of every step, the tokens given: prefill, then one token a call, with transformers' own cache."""
    cache = DynamicCache(config=model.config)
    name = "cache_params" if "cache_params" in inspect.signature(model.forward).parameters else "past_key_values"
    step, rows = prompt, []
    for token in tokens:
        out = model(torch.tensor([step]), use_cache=True, **{name: cache})
        rows.append(out.logits[0, -1])
        step = [token]
    return torch.stack(rows)


@torch.no_grad()
def recompute(model, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    """The same logits with no cache at all: one forward over everything."""
    out = model(torch.tensor([prompt + tokens[:-1]]), use_cache=False)
    return out.logits[0, len(prompt) - 1:]


@contextlib.contextmanager
def routing():
    """Collects how far the last chosen expert was from the first one left out, at every choice that is made inside."""
    seen, topk = [], torch.topk

    def watched(values, k, dim=-1, **more):
        if k < values.shape[dim]:
            best = topk(values.detach().double(), k + 1, dim=dim).values.movedim(dim, -1)
            distance = best[..., k - 1] - best[..., k]
            # Equal ones are both masked: their groups were not chosen.
            seen.extend(distance[distance > 0].flatten().tolist())
        return topk(values, k, dim=dim, **more)

    torch.topk, method = watched, torch.Tensor.topk
    torch.Tensor.topk = watched
    try:
        yield seen
    finally:
        torch.topk, torch.Tensor.topk = topk, method


@torch.no_grad()
def stepwise(model, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    """The same logits, every step computed anew from all that came before it."""
    ids = prompt + tokens[:-1]
    lengths = range(len(prompt), len(ids) + 1)
    return torch.stack([model(torch.tensor([ids[:n]]), use_cache=False).logits[0, -1] for n in lengths])


def gaps(logits: torch.Tensor) -> torch.Tensor:
    top = logits.double().topk(2, dim=-1).values
    return top[:, 0] - top[:, 1]


def candidate(case: dict, attempt: int) -> list[int]:
    """Prompt number `attempt`: ids 3 .. vocab - 3 from splitmix64, so that no special id is in it."""
    seed = fnv1a(f"{case['name']}/prompt/{attempt}")
    span = text(case["config"])["vocab_size"] - 6
    return [3 + int(z % np.uint64(span)) for z in mix(seed, case["prompt"])]


def specials(config: dict) -> set[int]:
    """Ids with a meaning of their own: ends of text, padding, places of images."""
    found = set()
    for part in (config, text(config)):
        for key, value in part.items():
            if re.search("_token_(id|index)$", key):
                found |= set(value if isinstance(value, list) else [] if value is None else [value])
    return found


def is_dynamic(config) -> bool:
    """Does the rotary embedding remember lengths that it has seen?"""
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    return rope.get("rope_type") == "dynamic"


def crosses(config, prompt: int) -> bool:
    """Does the generation begin with LongRoPE's short factors and end with the long ones?"""
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    return rope.get("rope_type") == "longrope" and (
        prompt <= rope["original_max_position_embeddings"] < prompt + NEW_TOKENS - 1)


def changed(config, changes: dict):
    """A copy of the loaded configuration with dotted keys replaced."""
    config = type(config).from_dict(config.to_dict())
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = config
        for key in path:
            place = place[key] if isinstance(place, dict) else getattr(place, key)
        if not isinstance(place, dict):
            assert hasattr(place, last), dotted
            setattr(place, last, value)
            continue
        if last == "rope_type" and value == "default":
            for key in set(place) - {"rope_theta", "rope_type"}:
                del place[key]
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return config


# ---- one case ---------------------------------------------------------------------------------------------------


def floats(row) -> list[float]:
    """float32 values by their shortest decimal that reads back to the same float32."""
    return [float(str(x)) for x in np.asarray(row, dtype=np.float32)]


def round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / power * 0.999999) * power:.0e}")


def make(case: dict, out: pathlib.Path) -> None:
    folder = out / case["name"]
    write_config(case, folder)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        write_reference_config(case, folder, tmp)
        config = AutoConfig.from_pretrained(tmp)
        table = tensor_table(case, config)
        write_checkpoint(case, table, tmp)
        model = load(case, tmp)

        for attempt in range(ATTEMPTS):
            if is_dynamic(config):
                model = load(case, tmp)  # this rotary embedding remembers the longest sequence it has seen
            prompt = candidate(case, attempt)
            with routing() as distances:
                tokens, logits = generate(model, prompt)
            gap = gaps(logits).min().item()
            varied = len(set(tokens)) >= DISTINCT and not specials(case["config"]) & set(tokens)
            if gap > GAP and varied and min(distances, default=1.0) > ROUTING:
                break
        else:
            raise SystemExit(f"{case['name']}: no prompt will do; change the gains")

        def fresh(**more):
            return load(case, tmp, **more) if is_dynamic(config) or more else model

        again = chain
        if crosses(config, len(prompt)):
            # When the long factors come, `generate` drops its cache: every key is rotated anew.
            again, stale = stepwise, movement(chain(model, prompt, tokens), logits)[1]
        noise = {"by hand": (again(fresh(), prompt, tokens) - logits).abs().max().item()}
        assert noise["by hand"] < (1e-5 if again is chain else 1e-4)
        whole = (recompute(fresh(), prompt, tokens) - logits).abs()
        if is_dynamic(config):
            # Not equal: the cache holds keys rotated with the frequencies of their own step.
            stale = float(f"{whole.max():.3g}")
            noise["no cache, first step"] = (
                (recompute(fresh(), prompt, tokens[:1]) - logits[:1]).abs().max().item())
        else:
            noise["no cache"] = whole[-1 if again is stepwise else 0:].max().item()
        double = again(fresh(dtype=torch.float64), prompt, tokens)
        noise["float64"] = (double - logits).abs().max().item()
        tolerance = round_up(max(1e-4, 40 * max(noise.values())))
        assert tolerance < gap / 4, (case["name"], tolerance, gap, noise)

        if "same_as" in case:
            modern = AutoConfig.for_model(**case["same_as"])
            other = load(case, tmp, config=modern)
            assert torch.equal(generate(other, prompt)[1], logits), "the v5 spelling is another model"

        moved = {}
        for label, changes in case["drops"].items():
            if callable(changes):
                other = load(case, tmp)
                changes(other)
            else:
                other = fresh(config=changed(config, changes), leftovers=True)
            moved[label] = movement(again(other, prompt, tokens), logits)
        if storage(case["config"]) != "float32":
            write_checkpoint(case, [{k: v for k, v in t.items() if k != "dtype"} for t in table], tmp)
            moved["rounding of the weights"] = movement(again(load(case, tmp), prompt, tokens), logits)
        if is_dynamic(config):
            moved["the stale keys of the cache (no cache instead)"] = [0.0, stale]
        if again is stepwise:
            moved["new keys for the long factors (the cache's kept instead)"] = [0.0, stale]

    expected = {
        "case": case["name"],
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "tensors": table,
        "prompt_ids": prompt,
        "token_ids": tokens,
        "prompt_logits": floats(logits[0]),
        "final_logits": floats(logits[-1]),
        "smallest_gap": float(f"{gap:.6g}"),
        "tolerance": tolerance,
        "moved_without": moved,
    }
    lines = [f" {json.dumps(key)}: {compact(value)}" for key, value in expected.items()]
    (folder / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")

    print(f"{case['name']}: attempt {attempt}, gap {gap:.4f}, {len(set(tokens))} distinct, "
          f"{len(distances)} choices of experts no closer than {min(distances, default=1.0):.1e}, "
          f"|logit| up to {logits.abs().max():.1f}, tolerance {tolerance:g}")
    print("    noise:", ", ".join(f"{k} {v:.1e}" for k, v in noise.items()))
    for label, (first, last) in moved.items():
        print(f"    without {label}: prompt {first:g}, final {last:g}")
        assert max(first, last) > 5 * tolerance, "this feature does not bite"


def movement(other: torch.Tensor, logits: torch.Tensor) -> list[float]:
    """How far the largest logit moves: after the prompt, and at the end."""
    delta = (other - logits).abs()
    return [float(f"{delta[0].max():.3g}"), float(f"{delta[-1].max():.3g}")]


def compact(value) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n  " + ",\n  ".join(json.dumps(v, separators=(",", ":")) for v in value) + "\n ]"
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "fixtures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    for case in CASES:
        if not args.cases or case["name"] in args.cases:
            make(case, args.out)


if __name__ == "__main__":
    main()
