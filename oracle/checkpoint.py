"""config.json, the table of a checkpoint's tensors, and the model that transformers makes of them."""

import json
import math
import pathlib
import re
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import safe_open, save_file
from transformers import AutoConfig

from weights import fill


def text(config: dict) -> dict:
    """The part of config.json that describes the text model: a wrapper nests it."""
    return config.get("text_config", config)


def write_config(case: dict, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if case["style"] == "v5":
        config = AutoConfig.for_model(**case["config"])
        config.architectures = [transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__]
        config.dtype = case["config"].get("dtype", "float32")
        config.save_pretrained(folder)
    else:
        (folder / "config.json").write_text(json.dumps(case["config"], indent=2) + "\n")


def write_reference_config(case: dict, folder: pathlib.Path, to: pathlib.Path) -> None:
    """What transformers reads: the fixture's config.json, or what the case puts in its place."""
    content = (folder / "config.json").read_text()
    if "reference_config" in case:
        content = json.dumps(case["reference_config"](json.loads(content)))
    (to / "config.json").write_text(content)


def storage(config: dict) -> str:
    for part in (config, text(config)):
        if part.get("dtype") or part.get("torch_dtype"):
            return part.get("dtype") or part.get("torch_dtype")
    return "float32"


def dyadic(value: float) -> float:
    """The nearest multiple of 1/1024: exact in decimal and in float32."""
    return round(value * 1024) / 1024


# Norms that multiply by 1 + weight.
ONE_PLUS = re.compile(r"gemma(2|3|3_text)?$|qwen3_5|qwen3_next")


def spec(name: str, shape: list[int], case: dict) -> dict:
    """Scale and offset of one tensor."""
    gain = {"embed": 1.0, "head": 3.0, "qk": 1.75, "out": 1.5, "other": 1.25} | case.get("gain", {})
    for pattern, scale, offset in case.get("rules", []):
        if re.search(pattern, name):
            if isinstance(scale, str):
                scale = gain[scale] / math.sqrt(shape[-1])
            return {"scale": dyadic(scale), "offset": offset}
    one_plus = bool(ONE_PLUS.match(case["config"]["model_type"]))
    if re.fullmatch(r"(model\.|language_model\.)*norm\.weight", name):
        scale, offset = 0.2, gain.get("final", 0.0 if one_plus else 1.0)
    elif name.endswith("norm.weight"):
        scale, offset = 0.2, 0.0 if one_plus else 1.0
    elif name.endswith(".bias"):
        scale, offset = 0.1, 0.0
    elif "embed_tokens" in name:
        scale, offset = gain["embed"], 0.0
    else:
        if name.startswith("lm_head"):
            kind = "head"
        elif "q_proj" in name or "k_proj" in name:
            kind = "qk"
        elif "o_proj" in name or "down_proj" in name or "out_proj" in name:
            kind = "out"
        else:
            kind = "other"
        scale, offset = gain[kind] / math.sqrt(shape[-1]), 0.0
    return {"scale": dyadic(scale), "offset": offset}


def opener(case: dict):
    return getattr(transformers, case.get("auto", "AutoModelForCausalLM"))


def tensor_table(case: dict, config) -> list[dict]:
    """Every tensor of the checkpoint, by name: what save_pretrained writes, laid out as on the hub, and the extra ones."""
    with tempfile.TemporaryDirectory() as tmp:
        opener(case).from_config(config, dtype=torch.float32).save_pretrained(tmp)
        with safe_open(pathlib.Path(tmp) / "model.safetensors", "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    shapes = case.get("layout", lambda same: same)(shapes)
    assert not set(shapes) & set(case.get("extra", {}))
    shapes |= case.get("extra", {})
    default = storage(case["config"])
    table = []
    for name in sorted(shapes, key=natural):
        entry = {"name": name, "shape": shapes[name], **spec(name, shapes[name], case)}
        dtype = next((dtype for pattern, dtype in case.get("dtypes", []) if re.search(pattern, name)), default)
        if dtype != "float32":
            entry["dtype"] = dtype
        if ignored(case, name):
            entry["ignored"] = True
        table.append(entry)
    return table


def ignored(case: dict, name: str) -> bool:
    return name in case.get("extra", {}) or bool("ignored" in case and re.search(case["ignored"], name))


def natural(name: str):
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in name.split(".")]


def write_checkpoint(case: dict, table: list[dict], folder: pathlib.Path) -> None:
    arrays = {t["name"]: fill(t["name"], t["shape"], t["scale"], t["offset"], t.get("dtype", "float32")) for t in table}
    if "reference" in case:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in case["reference"](arrays).items()}
    else:
        dtypes = {t["name"]: getattr(torch, t.get("dtype", "float32")) for t in table}
        tensors = {name: torch.from_numpy(a).to(dtypes[name]).contiguous() for name, a in arrays.items()}
        assert all(np.array_equal(tensor.float().numpy(), arrays[name]) for name, tensor in tensors.items())
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def load(case: dict, folder: pathlib.Path, config=None, dtype=torch.float32, leftovers=False):
    """The model, in eager attention (or the case's), from every tensor that is not to be ignored; or from fewer, if
    `leftovers`."""
    more = {} if config is None else {"config": config}
    model, info = opener(case).from_pretrained(
        folder, dtype=dtype, attn_implementation=case.get("attention", "eager"), experts_implementation="eager",
        output_loading_info=True, **more
    )
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    unexpected = [name for name in info["unexpected_keys"] if not ignored(case, name)]
    assert leftovers or not unexpected, unexpected
    model.eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = None
    return model
