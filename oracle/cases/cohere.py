"""cohere, cohere2: attention and network beside each other under one LayerNorm; cohere2 has windows with rotation and full
layers without.

cohere: with `use_qk_norm` each head has a LayerNorm of its own, without bias (`q_norm.weight` [heads, head_dim]). A
cohere2 layer is rotated if it is windowed: with `sliding_window` null none is. The head is tied where the key is absent.
`layer_switch`, `order_of_interleaved_layers`, `rotary_pct` and the `use_*` switches of hub files are not read.
"""

from .common import case, half_split, means_kept

S, F = "sliding_attention", "full_attention"
GAIN = dict(out=2.0, embed=0.5)


def rotated_everywhere(model):
    """Full layers turn their queries and keys, too; the mask stays what it is."""
    for module in model.modules():
        if type(module).__name__ == "Cohere2Attention" and module.sliding_window is None:
            module.sliding_window = 1 << 20


def one_norm_for_all_heads(model):
    for module in model.modules():
        if type(module).__name__ == "CohereAttention":
            for norm in (module.q_norm, module.k_norm):
                norm.weight.data = norm.weight.data[:1].expand_as(norm.weight).clone()


def one_after_another(model):
    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, past_key_values=None, **more):
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states),
                                     position_embeddings=position_embeddings, attention_mask=attention_mask,
                                     past_key_values=past_key_values, **more)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.input_layernorm(hidden_states))
    for module in model.modules():
        if type(module).__name__ in ("CohereDecoderLayer", "Cohere2DecoderLayer"):
            module.forward = forward.__get__(module)


def drops(head_dim, norm="Cohere2LayerNorm"):
    return {
        "the interleaved rotation": half_split(head_dim),
        "side by side": one_after_another,
        "the mean of LayerNorm": means_kept(norm),
        "the logits' scale": {"logit_scale": 1.0},
    }


WINDOWED = {"windows": {"sliding_window": 512}, "full layers without rotation": rotated_everywhere}

CASES = [
    case("cohere2", "v5",
         dict(model_type="cohere2", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=5,
              num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=512, layer_norm_eps=1e-5,
              logit_scale=0.5, sliding_window=8, attention_bias=True, tie_word_embeddings=False,
              layer_types=[S, F, S, S, F], bos_token_id=1, eos_token_id=2, pad_token_id=0,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
         gain=dict(head=6.0), drops=drops(10) | WINDOWED | {"biases": {"attention_bias": False}}),
    # command-r7b's config.json, scaled down; its head_dim beats hidden / heads.
    case("cohere2_v4style", "v4",
         dict(architectures=["Cohere2ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=5,
              cache_implementation="hybrid", eos_token_id=2, head_dim=14, hidden_act="silu", hidden_size=48,
              initializer_range=0.02, intermediate_size=72, layer_norm_eps=1e-5, layer_switch=3, logit_scale=0.25,
              max_position_embeddings=512, model_type="cohere2", num_attention_heads=4, num_hidden_layers=4,
              num_key_value_heads=1, order_of_interleaved_layers="local_attn_first", pad_token_id=0,
              position_embedding_type="rope_gptj", rope_scaling=None, rope_theta=50000, rotary_pct=1.0,
              sliding_window=6, sliding_window_pattern=3, torch_dtype="float32",
              transformers_version="4.48.0.dev0", use_cache=True, use_embedding_sharing=True,
              use_gated_activation=True, use_parallel_block=True, use_parallel_embedding=False, vocab_size=131), 25,
         same_as=dict(model_type="cohere2", vocab_size=131, hidden_size=48, intermediate_size=72,
                      num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1, head_dim=14,
                      max_position_embeddings=512, layer_norm_eps=1e-5, logit_scale=0.25, sliding_window=6,
                      layer_types=[S, S, F, S], tie_word_embeddings=True,
                      rope_parameters=dict(rope_theta=50000, rope_type="default")),
         gain=GAIN | dict(embed=1.0, final=4.0), drops=drops(14) | WINDOWED),
]

CASES += [
    # command-r-plus: norms on queries and keys.
    case("cohere", "v5",
         dict(model_type="cohere", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3,
              num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512, layer_norm_eps=1e-5,
              logit_scale=0.8125, use_qk_norm=True, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
              pad_token_id=0, rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 22,
         gain=dict(head=5.0),
         drops=drops(10, "CohereLayerNorm") | {"a norm for each head": one_norm_for_all_heads}),
    # command-r-v01's config.json, scaled down: no key for the tied head.
    case("cohere_v4style", "v4",
         dict(architectures=["CohereForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=5,
              eos_token_id=2, hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72,
              layer_norm_eps=1e-5, logit_scale=0.0625, max_position_embeddings=512, model_max_length=512,
              model_type="cohere", num_attention_heads=4, num_hidden_layers=3, num_key_value_heads=4, pad_token_id=0,
              rope_theta=8000000.0, torch_dtype="float32", transformers_version="4.38.2", use_cache=True,
              use_qk_norm=False, vocab_size=131), 20,
         same_as=dict(model_type="cohere", vocab_size=131, hidden_size=48, intermediate_size=72,
                      num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
                      layer_norm_eps=1e-5, logit_scale=0.0625, tie_word_embeddings=True,
                      rope_parameters=dict(rope_theta=8e6, rope_type="default")),
         gain=dict(out=2.0, embed=1.0, final=16.0), drops=drops(12, "CohereLayerNorm")),
]
