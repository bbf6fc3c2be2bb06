"""Tensor names of GGUF files by gguf-py's own table: fixtures/gguf_names.json.

For each architecture, a Hugging Face name (as transformers saves it, number 3 for the layer) and the
name that the converter writes. Stablemate's tables must agree.
"""

import json
from pathlib import Path

import gguf

LAYERS = 8
ATTENTION = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
HEAD_NORMS = ["self_attn.q_norm", "self_attn.k_norm"]
GATED = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
TWO_NORMS = ["input_layernorm", "post_attention_layernorm"]
# Stacked, as the converter names them before it looks them up.
EXPERTS = ["mlp.experts.gate_proj", "mlp.experts.up_proj", "mlp.experts.down_proj"]
MODEL = ["model.embed_tokens", "model.norm", "lm_head"]
DELTA_NET = [
    "linear_attn.in_proj_qkv",
    "linear_attn.in_proj_z",
    "linear_attn.in_proj_a",
    "linear_attn.in_proj_b",
    "linear_attn.conv1d",
    "linear_attn.dt_proj.bias",
    "linear_attn.A_log",
    "linear_attn.norm",
    "linear_attn.out_proj",
]
MIXER = ["in_proj", "conv1d", "conv1d.bias", "dt_proj.bias", "A_log", "D", "norm", "out_proj"]


def layers(prefix, *groups):
    return [f"{prefix}.3.{name}" for group in groups for name in group]


NAMES = {
    "llama": MODEL + layers("model.layers", ATTENTION, GATED, TWO_NORMS),
    "qwen2": MODEL
    + layers("model.layers", ATTENTION, GATED, TWO_NORMS, ["self_attn.q_proj.bias"]),
    "qwen3": MODEL + layers("model.layers", ATTENTION, HEAD_NORMS, GATED, TWO_NORMS),
    "qwen3moe": MODEL
    + layers("model.layers", ATTENTION, HEAD_NORMS, ["mlp.gate"], EXPERTS, TWO_NORMS),
    "qwen35": MODEL + layers("model.layers", ATTENTION, HEAD_NORMS, GATED, TWO_NORMS, DELTA_NET),
    "qwen35moe": MODEL
    + layers(
        "model.layers",
        ATTENTION,
        HEAD_NORMS,
        TWO_NORMS,
        DELTA_NET,
        ["mlp.gate", "mlp.shared_expert_gate"],
        [f"mlp.shared_expert.{part}_proj" for part in ("gate", "up", "down")],
        EXPERTS,
    ),
    "gemma2": MODEL[:2]
    + layers(
        "model.layers",
        ATTENTION,
        GATED,
        ["input_layernorm", "post_attention_layernorm"],
        ["pre_feedforward_layernorm", "post_feedforward_layernorm"],
    ),
    "gemma3": MODEL
    + layers(
        "model.layers",
        ATTENTION,
        HEAD_NORMS,
        GATED,
        ["input_layernorm", "post_attention_layernorm"],
        ["pre_feedforward_layernorm", "post_feedforward_layernorm"],
    ),
    "gemma4": MODEL
    + [
        "model.embed_tokens_per_layer",
        "model.per_layer_model_projection",
        "model.per_layer_projection_norm",
    ]
    + layers(
        "model.layers",
        ATTENTION,
        HEAD_NORMS,
        GATED,
        ["input_layernorm", "post_attention_layernorm", "layer_scalar"],
        ["pre_feedforward_layernorm", "post_feedforward_layernorm", "pre_feedforward_layernorm_2"],
        ["post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "router.proj"],
        ["per_layer_input_gate", "per_layer_projection", "post_per_layer_input_norm"],
        ["experts.gate_up_proj", "experts.down_proj"],
    ),
    "gpt-oss": MODEL
    + layers(
        "model.layers",
        ATTENTION,
        [f"{name}.bias" for name in ATTENTION],
        TWO_NORMS,
        ["self_attn.sinks", "mlp.router", "mlp.router.bias"],
        EXPERTS,
        [f"{name}.bias" for name in EXPERTS],
    ),
    "phi3": MODEL
    + layers(
        "model.layers",
        ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"],
        TWO_NORMS,
    ),
    "deepseek2": MODEL
    + layers(
        "model.layers",
        ["self_attn.q_proj", "self_attn.q_a_proj", "self_attn.q_a_layernorm"],
        ["self_attn.q_b_proj", "self_attn.kv_a_proj_with_mqa", "self_attn.kv_a_layernorm"],
        ["self_attn.kv_b_proj", "self_attn.k_b_proj", "self_attn.v_b_proj", "self_attn.o_proj"],
        GATED,
        EXPERTS,
        TWO_NORMS,
        ["mlp.gate", "mlp.gate.e_score_correction.bias"],
        [f"mlp.shared_experts.{part}_proj" for part in ("gate", "up", "down")],
    ),
    "command-r": MODEL[:2]
    + layers("model.layers", ATTENTION, HEAD_NORMS, GATED, ["input_layernorm"]),
    "cohere2": MODEL[:2] + layers("model.layers", ATTENTION, GATED, ["input_layernorm"]),
    "gpt2": ["transformer.wte", "transformer.wpe", "transformer.ln_f", "transformer.ln_f.bias"]
    + layers(
        "transformer.h",
        ["ln_1", "ln_1.bias", "ln_2", "ln_2.bias"],
        [f"{name}{end}" for name in ("attn.c_attn", "attn.c_proj") for end in ("", ".bias")],
        [f"{name}{end}" for name in ("mlp.c_fc", "mlp.c_proj") for end in ("", ".bias")],
    ),
    "falcon": ["transformer.word_embeddings", "transformer.ln_f", "lm_head"]
    + layers(
        "transformer.h",
        ["input_layernorm", "input_layernorm.bias", "ln_mlp", "ln_attn", "ln_attn.bias"],
        ["self_attention.query_key_value", "self_attention.dense"],
        ["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"],
    ),
    "mamba2": ["backbone.embeddings", "backbone.norm_f", "lm_head"]
    + layers("backbone.layers", ["norm"], [f"mixer.{part}" for part in MIXER]),
    "falcon-h1": ["model.embed_tokens", "model.final_layernorm", "lm_head"]
    + layers(
        "model.layers",
        ATTENTION,
        [f"mamba.{part}" for part in MIXER],
        ["input_layernorm", "pre_ff_layernorm"],
        [f"feed_forward.{part}_proj" for part in ("gate", "up", "down")],
    ),
}

# Names that transformers saves without an ending, and those that the converter gives one to.
ENDLESS = ("A_log", ".D")
GIVEN = ("layer_scalar", "self_attn.sinks", "experts.gate_up_proj", "experts.down_proj")


def pairs(architecture):
    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    table = gguf.get_tensor_name_map(arch, LAYERS)
    for name in NAMES[architecture]:
        full = name if name.endswith((".bias", *ENDLESS)) else f"{name}.weight"
        stored = table.get_name(full, try_suffixes=(".weight", ".bias"))
        assert stored is not None, (architecture, full)
        saved = name if name.endswith(GIVEN) and architecture in ("gemma4", "gpt-oss") and (
            "mlp.experts" not in name
        ) else full
        yield [saved, stored]


def main():
    out = {architecture: list(pairs(architecture)) for architecture in NAMES}
    path = Path(__file__).parent.parent / "fixtures" / "gguf_names.json"
    path.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
