"""Mixtures of experts on ordinary attention: qwen3_moe, qwen2_moe, mixtral.

qwen3_moe: a layer has experts if it is not in `mlp_only_layers` and its number, counted from 1, is a multiple of
`decoder_sparse_step`. `norm_topk_prob` is false where it is absent. `use_sliding_window` windows every layer.
qwen2_moe: as qwen3_moe, with biases of queries, keys and values (`qkv_bias`, true where absent) and a shared expert behind a
gate of its own. Its windows are in layers of even number, counted from 0, below `max_window_layers` (28).
mixtral: weights always renormalised; on the hub `block_sparse_moe.experts.0.w1` (gate), `w3` (up), `w2` (down).
"""

import torch

from .common import case, per_expert, renamed, replaced, stacked, zeroed

RULES = [(r"mlp\.gate\.weight$", "router", 0.0)]
GAIN = dict(router=2.0)


def listed(shapes):
    return per_expert(stacked(shapes))


QWEN3_MOE_CASES = [
    # Qwen3-30B-A3B's config.json, scaled down.
    case(
        "qwen3_moe", "v4",
        dict(architectures=["Qwen3MoeForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=1,
             decoder_sparse_step=1, eos_token_id=2, head_dim=20, hidden_act="silu", hidden_size=48,
             initializer_range=0.02, intermediate_size=88, max_position_embeddings=512, max_window_layers=3,
             mlp_only_layers=[], model_type="qwen3_moe", moe_intermediate_size=24, norm_topk_prob=True,
             num_attention_heads=6, num_experts=7, num_experts_per_tok=3, num_hidden_layers=3,
             num_key_value_heads=2, output_router_logits=False, rms_norm_eps=1e-6, rope_scaling=None,
             rope_theta=1000000.0, router_aux_loss_coef=0.001, sliding_window=None, tie_word_embeddings=False,
             torch_dtype="float32", transformers_version="4.51.0", use_cache=True, use_sliding_window=False,
             vocab_size=203), 25,
        same_as=dict(model_type="qwen3_moe", vocab_size=203, hidden_size=48, intermediate_size=88,
                     num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, head_dim=20,
                     max_position_embeddings=512, rms_norm_eps=1e-6, moe_intermediate_size=24, norm_topk_prob=True,
                     num_experts=7, num_experts_per_tok=3, rope_parameters=dict(rope_theta=1e6, rope_type="default")),
        rules=RULES, gain=GAIN, layout=listed,
        drops={"renormalised weights": {"norm_topk_prob": False},
               "one expert of three": {"num_experts_per_tok": 2},
               "theta 1e6 as 1e4": {"rope_parameters.rope_theta": 1e4}},
    ),
    # Experts in one layer of four, weights not renormalised, windows.
    case(
        "qwen3_moe_sparse", "v5",
        dict(model_type="qwen3_moe", vocab_size=131, hidden_size=56, intermediate_size=72, num_hidden_layers=4,
             num_attention_heads=3, num_key_value_heads=1, head_dim=22, max_position_embeddings=512,
             rms_norm_eps=1e-5, moe_intermediate_size=20, num_experts=5, num_experts_per_tok=2,
             norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[3], use_sliding_window=True,
             sliding_window=8, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
             rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
        rules=RULES, gain=GAIN | dict(out=2.5, embed=0.5), layout=listed,
        drops={"weights as they are": {"norm_topk_prob": True}, "windows": {"sliding_window": None}},
    ),
]


def plain_router(self, hidden):
    """The softmax over all experts, not renormalised over the chosen ones."""
    logits = torch.nn.functional.linear(hidden.reshape(-1, hidden.shape[-1]), self.weight)
    weights, chosen = torch.topk(logits.softmax(-1), self.top_k, dim=-1)
    return logits, weights, chosen


def open_shared_gate(model):
    """The shared expert's output is added whole: a gate of a half, twice the output."""
    for module in model.modules():
        if hasattr(module, "shared_expert_gate"):
            module.shared_expert_gate.weight.data.zero_()
            module.shared_expert.down_proj.weight.data *= 2


def mixtral_names(shapes):
    parts = (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2"))
    moved = [(f".{old}.weight", f".{new}.weight") for old, new in parts]
    if not any("w1" in name for name in shapes):
        shapes = renamed(*moved)(listed(shapes))
    return renamed((".mlp.", ".block_sparse_moe."))(shapes)


QWEN2_MOE = dict(
    model_type="qwen2_moe", hidden_size=56, intermediate_size=72, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=512, rms_norm_eps=1e-6, moe_intermediate_size=20, shared_expert_intermediate_size=30,
    num_experts=6, num_experts_per_tok=2)
SHARED_RULES = RULES + [(r"shared_expert_gate\.weight$", "router", 0.0)]
SHARED_DROPS = {"the shared expert": zeroed("shared_expert.down_proj"), "the shared expert's gate": open_shared_gate,
                "biases": zeroed("proj.bias")}

QWEN2_MOE_CASES = [
    # Qwen1.5-MoE-A2.7B's config.json, scaled down.
    case("qwen2_moe", "v4",
         QWEN2_MOE | dict(
             architectures=["Qwen2MoeForCausalLM"], attention_dropout=0.0, bos_token_id=1, decoder_sparse_step=1,
             eos_token_id=2, hidden_act="silu", initializer_range=0.02, max_window_layers=21, norm_topk_prob=False,
             num_hidden_layers=3, output_router_logits=False, rope_theta=1000000.0, router_aux_loss_coef=0.001,
             sliding_window=32768, tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.39.0.dev0",
             use_cache=True, use_sliding_window=False, vocab_size=203), 22,
         same_as=QWEN2_MOE | dict(num_hidden_layers=3, vocab_size=203, qkv_bias=True, layer_types=["full_attention"] * 3,
                                  rope_parameters=dict(rope_theta=1e6, rope_type="default")),
         rules=SHARED_RULES, gain=GAIN, layout=listed,
         drops=SHARED_DROPS | {"weights as they are": {"norm_topk_prob": True}}),
    # Windows, no biases, a layer without experts.
    case("qwen2_moe_windows", "v5",
         QWEN2_MOE | dict(num_hidden_layers=4, vocab_size=131, qkv_bias=False, norm_topk_prob=True,
                          mlp_only_layers=[1], use_sliding_window=True, sliding_window=8, max_window_layers=3,
                          bos_token_id=1, eos_token_id=2, pad_token_id=0,
                          rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 24,
         rules=SHARED_RULES, gain=GAIN, layout=listed,
         drops={key: value for key, value in SHARED_DROPS.items() if key != "biases"} | {
             "windows": {"layer_types": ["full_attention"] * 4}, "renormalised weights": {"norm_topk_prob": False}}),
]

MIXTRAL_CASES = [
    # Mixtral-8x7B's config.json, scaled down.
    case("mixtral", "v4",
         dict(architectures=["MixtralForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
              hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=40,
              max_position_embeddings=512, model_type="mixtral", num_attention_heads=4, num_experts_per_tok=2,
              num_hidden_layers=3, num_key_value_heads=1, num_local_experts=5, output_router_logits=False,
              rms_norm_eps=1e-5, rope_theta=1000000.0, router_aux_loss_coef=0.02, sliding_window=None,
              tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.36.0.dev0", use_cache=True,
              vocab_size=203), 22,
         same_as=dict(model_type="mixtral", vocab_size=203, hidden_size=48, intermediate_size=40,
                      num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=512,
                      rms_norm_eps=1e-5, num_local_experts=5, num_experts_per_tok=2,
                      rope_parameters=dict(rope_theta=1e6, rope_type="default")),
         rules=RULES, gain=GAIN | dict(other=1.5), layout=mixtral_names,
         drops={"renormalised weights": replaced("MixtralTopKRouter", forward=plain_router)}),
    case("mixtral_windows", "v5",
         dict(model_type="mixtral", vocab_size=131, hidden_size=60, intermediate_size=36, num_hidden_layers=3,
              num_attention_heads=5, num_key_value_heads=5, head_dim=14, max_position_embeddings=512,
              rms_norm_eps=1e-5, num_local_experts=4, num_experts_per_tok=3, sliding_window=8, bos_token_id=1,
              eos_token_id=2, pad_token_id=0, rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
         rules=RULES, gain=GAIN | dict(other=1.5), layout=mixtral_names,
         drops={"renormalised weights": replaced("MixtralTopKRouter", forward=plain_router),
                "windows": {"sliding_window": None}}),
]

CASES = QWEN3_MOE_CASES + QWEN2_MOE_CASES + MIXTRAL_CASES
