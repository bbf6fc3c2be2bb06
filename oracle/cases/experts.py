"""Mixtures of experts on ordinary attention: qwen3_moe.

qwen3_moe: a layer has experts if it is not in `mlp_only_layers` and its number, counted from 1, is a multiple of
`decoder_sparse_step`. `norm_topk_prob` is false where it is absent. `use_sliding_window` windows every layer.
"""

from .common import case, per_expert, stacked

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

CASES = QWEN3_MOE_CASES
