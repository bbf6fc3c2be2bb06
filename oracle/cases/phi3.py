"""phi3: queries, keys and values in one projection, gate and up in another, LongRoPE.

Every layer is windowed where `sliding_window` is a number. The short factors hold while the sequence is no longer than
`original_max_position_embeddings`; with the next token all keys, the old ones too, are rotated with the long factors.
The factor on cos and sin, sqrt(1 + ln(max / original) / ln(original)), holds in both regimes. transformers 5.23 refuses
the types "su" and "yarn" of the first hub files. The original length is always the top level's, 4096 if absent.
"""

import torch

from .common import case, exchanged

RULES = [(r"qkv_proj\.weight$", "qkv", 0.0)]
GAIN = dict(qkv=1.5)


def keys_before_queries(model):
    """Rows in the order keys, queries, values."""
    for module in model.modules():
        if hasattr(module, "qkv_proj"):
            queries = module.config.num_attention_heads * module.head_dim
            keys = module.num_key_value_heads * module.head_dim
            q, k, v = module.qkv_proj.weight.data.split([keys, queries, keys])
            module.qkv_proj.weight.data = torch.cat([k, q, v])


def hub(**more):
    return dict(
        architectures=["Phi3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=1,
        embd_pdrop=0.0, eos_token_id=2, full_attn_mod=1, hidden_act="silu", hidden_size=64, initializer_range=0.02,
        intermediate_size=88, interpolate_factor=1, lm_head_bias=False, max_position_embeddings=512,
        model_type="phi3", num_attention_heads=4, num_hidden_layers=3, num_key_value_heads=2, pad_token_id=0,
        partial_rotary_factor=0.75, resid_pdrop=0.0, rms_norm_eps=1e-5, rope_theta=10000.0, sliding_window=512,
        tie_word_embeddings=True, torch_dtype="float32", transformers_version="4.45.0", use_cache=True,
        vocab_size=203) | more


FACTORS = dict(short_factor=[1.0, 1.1, 1.3, 1.2, 1.5, 1.6], long_factor=[1.0, 1.8, 3.1, 5.3, 7.9, 8.0])


def modern(original, **more):
    """The same in transformers 5's keys."""
    known = dict(
        model_type="phi3", vocab_size=203, hidden_size=64, intermediate_size=88, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        original_max_position_embeddings=original, rms_norm_eps=1e-5, sliding_window=512, tie_word_embeddings=True,
        pad_token_id=0)
    return known | dict(rope_parameters=FACTORS | dict(
        rope_theta=10000.0, rope_type="longrope", partial_rotary_factor=0.75,
        original_max_position_embeddings=original)) | more


DROPS = {
    "partial rotation": {"rope_parameters.partial_rotary_factor": 1.0},
    "queries before keys": keys_before_queries,
    "gate before up": exchanged("gate_up_proj"),
}
ONES = [1.0] * 6


def long_drops(used):
    return {
        f"the {used} factors": {f"rope_parameters.{used}_factor": ONES},
        "the factor on cos and sin": {"rope_parameters.attention_factor": 1.0},
        "queries before keys": keys_before_queries,
        "gate before up": exchanged("gate_up_proj"),
    }


CASES = [
    case("phi3", "v5",
         dict(model_type="phi3", vocab_size=203, hidden_size=60, intermediate_size=72, num_hidden_layers=3,
              num_attention_heads=5, num_key_value_heads=1, max_position_embeddings=512, rms_norm_eps=1e-5,
              sliding_window=9, bos_token_id=1, eos_token_id=2, pad_token_id=0,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default", partial_rotary_factor=0.5)), 23,
         rules=RULES, gain=GAIN, drops=DROPS | {"windows": {"sliding_window": None}}),
    # Phi-3-mini-128k's and Phi-4-mini's spelling. The whole generation in the short regime.
    case("phi3_longrope_short", "v4",
         hub(original_max_position_embeddings=64, rope_scaling=FACTORS | dict(type="longrope"), tie_word_embeddings=False),
         21, same_as=modern(64, tie_word_embeddings=False), rules=RULES, gain=GAIN, drops=long_drops("short")),
    # All of it in the long one.
    case("phi3_longrope_long", "v4",
         hub(original_max_position_embeddings=32, rope_scaling=FACTORS | dict(type="longrope")), 33,
         same_as=modern(32), rules=RULES, gain=GAIN | dict(out=2.5, embed=0.5), drops=long_drops("long")),
    # From the one into the other, after the eleventh token.
    case("phi3_longrope_crossing", "v4",
         hub(original_max_position_embeddings=40, rope_scaling=FACTORS | dict(rope_type="longrope")), 30,
         same_as=modern(40), rules=RULES, gain=GAIN | dict(out=2.5, embed=0.5),
         drops=long_drops("short") | long_drops("long")),
]
