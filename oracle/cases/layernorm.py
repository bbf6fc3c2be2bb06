"""stablelm and starcoder2: LayerNorm with bias.

stablelm: a quarter of each head is rotated where `partial_rotary_factor` is absent. With `qk_layernorm` each head has a
LayerNorm of its own, without bias (`q_layernorm.norms.3.weight`), for queries and keys. `use_parallel_residual` puts the
network beside attention under one norm; there is no post_attention_layernorm then. `use_qkv_bias` leaves out_proj alone.
starcoder2: a network without gate (c_fc, gelu of the tanh form, c_proj), biases everywhere with `use_bias`, which is true
where it is absent, like the tied head. A window is in every layer.
"""

from .common import case, means_kept, zeroed

MEAN = {"the mean of LayerNorm": means_kept("LayerNorm")}
STABLELM_RULES = [(r"layernorm\.norms\.\d+\.weight$", 0.2, 1.0)]
STARCODER_RULES = [(r"mlp\.c_proj\.weight$", "out", 0.0)]


def one_norm_for_all_heads(model):
    for module in model.modules():
        if type(module).__name__ == "StableLmLayerNormPerHead":
            for norm in module.norms:
                norm.weight.data = module.norms[0].weight.data.clone()


CASES = [
    case("stablelm", "v5",
         dict(model_type="stablelm", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3,
              num_attention_heads=5, num_key_value_heads=5, max_position_embeddings=512, layer_norm_eps=1e-5,
              qk_layernorm=True, use_parallel_residual=True, use_qkv_bias=False, bos_token_id=1, eos_token_id=2,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default", partial_rotary_factor=0.5)), 22,
         rules=STABLELM_RULES,
         drops=MEAN | {"a norm for each head": one_norm_for_all_heads}),
    # stablelm-2-1_6b's config.json, scaled down, without its partial_rotary_factor.
    case("stablelm_v4style", "v4",
         dict(architectures=["StableLmForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
              hidden_act="silu", hidden_dropout=0.0, hidden_size=64, initializer_range=0.02, intermediate_size=72,
              layer_norm_eps=1e-5, max_position_embeddings=512, model_type="stablelm", num_attention_heads=4,
              num_hidden_layers=3, num_key_value_heads=2, rope_scaling=None, rope_theta=10000,
              tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.38.0", use_cache=True,
              use_qkv_bias=True, vocab_size=131), 20,
         same_as=dict(model_type="stablelm", vocab_size=131, hidden_size=64, intermediate_size=72,
                      num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
                      layer_norm_eps=1e-5, use_qkv_bias=True,
                      rope_parameters=dict(rope_theta=10000, rope_type="default", partial_rotary_factor=0.25)),
         drops=MEAN | {"partial rotation": {"rope_parameters.partial_rotary_factor": 0.5},
                       "biases of queries, keys and values": zeroed("proj.bias")}),
    case("starcoder2", "v5",
         dict(model_type="starcoder2", vocab_size=203, hidden_size=60, intermediate_size=100, num_hidden_layers=3,
              num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512, norm_epsilon=1e-5,
              use_bias=False, sliding_window=9, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
         rules=STARCODER_RULES,
         drops=MEAN | {"windows": {"sliding_window": None}, "gelu": {"hidden_act": "silu"}}),
    # starcoder2-3b's config.json, scaled down: biases and a tied head by default.
    case("starcoder2_v4style", "v4",
         dict(activation_function="gelu", architectures=["Starcoder2ForCausalLM"], attention_dropout=0.1,
              attention_softmax_in_fp32=True, bos_token_id=1, embedding_dropout=0.1, eos_token_id=2,
              hidden_act="gelu_pytorch_tanh", hidden_size=48, initializer_range=0.018042, intermediate_size=72,
              layer_norm_epsilon=1e-5, max_position_embeddings=512, mlp_type="default", model_type="starcoder2",
              norm_epsilon=1e-5, norm_type="layer_norm", num_attention_heads=4, num_hidden_layers=3,
              num_key_value_heads=1, residual_dropout=0.1, rope_theta=999999.4420358813,
              scale_attention_softmax_in_fp32=True, scale_attn_weights=True, sliding_window=None,
              torch_dtype="float32", transformers_version="4.39.0.dev0", use_bias=True, use_cache=True,
              vocab_size=131), 21,
         same_as=dict(model_type="starcoder2", vocab_size=131, hidden_size=48, intermediate_size=72,
                      num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=512,
                      norm_epsilon=1e-5, rope_parameters=dict(rope_theta=999999.4420358813, rope_type="default")),
         rules=STARCODER_RULES, gain=dict(out=2.5, embed=0.5),
         drops=MEAN | {"biases of projections": zeroed("self_attn.q_proj.bias"),
                       "biases of the network": zeroed("c_fc.bias")}),
]
