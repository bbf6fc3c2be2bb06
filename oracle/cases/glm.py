"""glm4: norms before and behind both parts, half of each head rotated, interleaved, gate and up in one projection.

`post_attention_layernorm` is the norm BEFORE the network; `post_self_attn_layernorm` and `post_mlp_layernorm` are the ones
behind. `attention_bias` is true where it is absent, and o_proj has none. `partial_rotary_factor` is 0.5 where absent,
head_dim 128.
"""

from .common import case, exchanged, half_split, zeroed


def norms_exchanged(model):
    """As if post_attention_layernorm stood behind attention."""
    for module in model.modules():
        if type(module).__name__ == "Glm4DecoderLayer":
            one, other = module.post_attention_layernorm, module.post_self_attn_layernorm
            module.post_attention_layernorm, module.post_self_attn_layernorm = other, one


def drops(head_dim):
    return {
        "the interleaved rotation": half_split(head_dim, head_dim // 2),
        "partial rotation": {"rope_parameters.partial_rotary_factor": 1.0},
        "gate before up": exchanged("gate_up_proj"),
        "names of the norms": norms_exchanged,
    }


CASES = [
    case("glm4", "v5",
         dict(model_type="glm4", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3,
              num_attention_heads=6, num_key_value_heads=2, head_dim=16, max_position_embeddings=512,
              rms_norm_eps=1e-5, attention_bias=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default", partial_rotary_factor=0.5)), 22,
         drops=drops(16)),
    # GLM-4-9B-0414's config.json, scaled down, without its switches.
    case("glm4_v4style", "v4",
         dict(architectures=["Glm4ForCausalLM"], attention_dropout=0.0, eos_token_id=[1, 2, 3], head_dim=12,
              hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72,
              max_position_embeddings=512, model_type="glm4", num_attention_heads=4, num_hidden_layers=3,
              num_key_value_heads=1, pad_token_id=0, rms_norm_eps=1e-5, rope_theta=10000.0,
              tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.52.0.dev0", use_cache=True,
              vocab_size=131), 20,
         same_as=dict(model_type="glm4", vocab_size=131, hidden_size=48, intermediate_size=72, num_hidden_layers=3,
                      num_attention_heads=4, num_key_value_heads=1, head_dim=12, max_position_embeddings=512,
                      rms_norm_eps=1e-5, attention_bias=True, pad_token_id=0,
                      rope_parameters=dict(rope_theta=10000.0, rope_type="default", partial_rotary_factor=0.5)),
         drops=drops(12) | {"biases": zeroed("proj.bias")}),
]
