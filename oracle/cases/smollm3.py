"""smollm3: Llama without rotation in some layers. `no_rope_layers` says 1 where a layer IS rotated; where it is absent,
every `no_rope_layer_interval`-th (4) is not. Windows, with `use_sliding_window`, are in the layers without rotation, unless
`layer_types` says where. The head is tied where the key is absent, and the default base is 2 000 000.
"""

from .common import case

F, S = "full_attention", "sliding_attention"

CASES = [
    case("smollm3", "v5",
         dict(model_type="smollm3", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=4,
              num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-6,
              no_rope_layers=[1, 0, 1, 0], use_sliding_window=True, sliding_window=8, tie_word_embeddings=False,
              bos_token_id=1, eos_token_id=2, pad_token_id=0,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
         drops={"layers without rotation": {"no_rope_layers": [1, 1, 1, 1]},
                "rotated where it says 1": {"no_rope_layers": [0, 1, 0, 1]},
                "windows": {"layer_types": [F, F, F, F]}}),
    # SmolLM3-3B's config.json, scaled down, without the lists.
    case("smollm3_v4style", "v4",
         dict(architectures=["SmolLM3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=None,
              eos_token_id=2, hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72,
              max_position_embeddings=512, max_window_layers=28, mlp_bias=False, model_type="smollm3",
              no_rope_layer_interval=3, num_attention_heads=4, num_hidden_layers=4, num_key_value_heads=1,
              pad_token_id=0, pretraining_tp=2, rms_norm_eps=1e-6, rope_scaling=None, rope_theta=5000000.0,
              sliding_window=None, torch_dtype="float32", transformers_version="4.54.0.dev0", use_cache=False,
              use_sliding_window=False, vocab_size=131), 21,
         same_as=dict(model_type="smollm3", vocab_size=131, hidden_size=48, intermediate_size=72,
                      num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=512,
                      rms_norm_eps=1e-6, pad_token_id=0, no_rope_layers=[1, 1, 0, 1], layer_types=[F] * 4,
                      rope_parameters=dict(rope_theta=5e6, rope_type="default")),
         gain=dict(out=2.5, embed=0.5), drops={"layers without rotation": {"no_rope_layers": [1, 1, 1, 1]}}),
]
