"""qwen3_next: qwen3_5_moe's layers with the projections of its delta nets fused by key head.

Rows of in_proj_qkvz, for each key head: its query, its key, the values of its value heads, their z; of in_proj_ba: their b,
their a. The convolution runs over [all queries, all keys, all values], as in qwen3_5. Experts are a list on the hub; a layer
has them as in qwen3_moe; weights are renormalised where `norm_topk_prob` is absent.
"""

import torch

from .common import case, per_expert, stacked, zeroed
from .recurrent import (
    MOE_GAIN, MOE_RULES, gated_norm_one_plus, gates_after_queries, no_convolution, no_decay, no_output_gate,
    open_shared_gate, plain_norms,
)

L, F = "linear_attention", "full_attention"


def parts_after_parts(model):
    """in_proj_qkvz read as all queries, all keys, all values, all z."""
    for module in model.modules():
        if type(module).__name__ == "Qwen3NextGatedDeltaNet":
            keys, repeats = module.num_k_heads, module.num_v_heads // module.num_k_heads
            weight = module.in_proj_qkvz.weight.data
            sizes = [module.key_dim, module.key_dim, module.value_dim, module.value_dim]
            parts = [part.view(keys, -1, weight.shape[1]) for part in weight.split(sizes)]
            module.in_proj_qkvz.weight.data = torch.cat(parts, dim=1).reshape(weight.shape)


DROPS = {
    "the convolution": no_convolution,
    "the decay": no_decay,
    "the output gate of attention": no_output_gate,
    "gates beside their heads' queries": gates_after_queries,
    "norms of 1 + weight": plain_norms,
    "the gated norm's plain weight": gated_norm_one_plus,
    "rows by key head": parts_after_parts,
    "the shared expert": zeroed("shared_expert.down_proj"),
    "the shared expert's gate": open_shared_gate,
}


def listed(shapes):
    return per_expert(stacked(shapes))


SIZES = dict(
    model_type="qwen3_next", vocab_size=203, hidden_size=56, intermediate_size=72, num_hidden_layers=4,
    num_attention_heads=3, num_key_value_heads=1, head_dim=24, max_position_embeddings=512, rms_norm_eps=1e-6,
    linear_conv_kernel_dim=4, linear_key_head_dim=12, linear_num_key_heads=2, linear_num_value_heads=6,
    linear_value_head_dim=10, moe_intermediate_size=20, shared_expert_intermediate_size=28, num_experts=6,
    num_experts_per_tok=3, bos_token_id=1, eos_token_id=2)

MTP = {
    "mtp.fc.weight": [56, 112], "mtp.norm.weight": [56], "mtp.pre_fc_norm_embedding.weight": [56],
    "mtp.pre_fc_norm_hidden.weight": [56], "mtp.layers.0.input_layernorm.weight": [56],
    "mtp.layers.0.mlp.gate.weight": [6, 56], "mtp.layers.0.mlp.experts.0.up_proj.weight": [20, 56],
}

CASES = [
    # Qwen3-Next-80B-A3B's config.json, scaled down, and its MTP layer.
    case("qwen3_next", "v4",
         SIZES | dict(
             architectures=["Qwen3NextForCausalLM"], attention_bias=False, attention_dropout=0.0,
             decoder_sparse_step=1, full_attention_interval=3, hidden_act="silu", initializer_range=0.02,
             mlp_only_layers=[], norm_topk_prob=True, output_router_logits=False, partial_rotary_factor=0.25,
             rope_scaling=None, rope_theta=10000000, router_aux_loss_coef=0.001, tie_word_embeddings=False,
             torch_dtype="float32", transformers_version="4.57.0.dev0", use_cache=True, use_sliding_window=False), 70,
         same_as=SIZES | dict(norm_topk_prob=True, layer_types=[L, L, F, L], rope_parameters=dict(
             rope_theta=10000000, rope_type="default", partial_rotary_factor=0.25)),
         rules=MOE_RULES, gain=MOE_GAIN, layout=listed, extra=MTP, ignored=r"^mtp\.",
         drops=DROPS | {"renormalised weights": {"norm_topk_prob": False}}),
    # Layers without experts, weights as they are.
    case("qwen3_next_sparse", "v5",
         SIZES | dict(vocab_size=131, num_hidden_layers=3, layer_types=[L, F, L], linear_num_value_heads=2,
                      mlp_only_layers=[0], norm_topk_prob=False,
                      rope_parameters=dict(rope_theta=10000.0, rope_type="default", partial_rotary_factor=0.5)), 21,
         rules=MOE_RULES, gain=MOE_GAIN, layout=listed,
         drops={key: value for key, value in DROPS.items() if key != "the output gate of attention"} | {
             "weights as they are": {"norm_topk_prob": True},
             "partial rotation": {"rope_parameters.partial_rotary_factor": 1.0}}),
]
