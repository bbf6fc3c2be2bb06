"""falcon: one projection for queries, keys and values in three layouts, networks beside or behind attention, ALiBi.

Rows of query_key_value: with `new_decoder_architecture`, for each key/value head its query heads, its key, its value;
else with `multi_query`, all query heads, one key, one value; else query, key and value of each head. `num_kv_heads`
counts in the first alone. Two norms (`ln_attn`, `ln_mlp`) with `new_decoder_architecture`, unless
`num_ln_in_parallel_attn` is 1; `parallel_attn` without them shares one. With `alibi` nothing is rotated.

ALiBi: the bias of key position k is slope * k, computed in bfloat16 (both factors and their product rounded), and is
divided by sqrt(head_dim) like the scores. transformers 5.23 adds it twice in eager attention, once in the mask and once
beside it; its other implementations add it once, and so does the fixture.
"""

import torch

from .common import case, means_kept, zeroed

RULES = [
    (r"(norm|ln_attn|ln_mlp|ln_f)\.weight$", 0.2, 1.0),
    (r"word_embeddings\.weight$", "embed", 0.0),
    (r"query_key_value\.weight$", "qkv", 0.0),
    (r"(attention\.dense|dense_4h_to_h)\.weight$", "out", 0.0),
]
GAIN = dict(qkv=1.75, embed=5.0, out=2.5)


def rows_as(order):
    """Rows of the fused projection read in another order: `order` maps [heads, keys, width] to indices of rows."""
    def drop(model):
        for module in model.modules():
            if type(module).__name__ == "FalconAttention":
                keys = module.num_kv_heads
                index = order(module.num_heads, keys, module.head_dim)
                for parameter in module.query_key_value.parameters():
                    parameter.data = parameter.data[index].clone()
    return drop


def grouped_rows(heads, keys, width):
    """As if the checkpoint had all queries, then all keys, then all values."""
    q = torch.arange(heads * width).view(keys, -1, width)
    k = heads * width + torch.arange(keys * width).view(keys, 1, width)
    v = heads * width + keys * width + torch.arange(keys * width).view(keys, 1, width)
    return torch.cat([q, k, v], dim=1).reshape(-1)


def no_alibi(model):
    model.transformer.use_alibi = True
    for module in model.modules():
        if type(module).__name__ == "FalconAttention":
            def forward(self, hidden_states, alibi, attention_mask, original=type(module).forward, **more):
                masked = torch.where(attention_mask < -1e30, attention_mask, torch.zeros_like(attention_mask))
                return original(self, hidden_states, alibi, masked, **more)
            module.forward = forward.__get__(module)


def alibi_unscaled(model):
    """The biases not divided by sqrt(head_dim)."""
    for module in model.modules():
        if type(module).__name__ == "FalconAttention":
            def forward(self, hidden_states, alibi, attention_mask, original=type(module).forward, **more):
                biases = attention_mask * self.head_dim**0.5
                masked = torch.where(attention_mask < -1e30, attention_mask, biases)
                return original(self, hidden_states, alibi, masked, **more)
            module.forward = forward.__get__(module)


SIZES = dict(vocab_size=203, hidden_size=60, num_hidden_layers=3, num_attention_heads=5, max_position_embeddings=512,
             layer_norm_epsilon=1e-5)
COMMON = {"the mean of LayerNorm": means_kept("LayerNorm")}

CASES = [
    # falcon-7b's config.json, scaled down: one key/value head, one norm, no biases.
    case("falcon", "v4",
         dict(alibi=False, apply_residual_connection_post_layernorm=False, architectures=["FalconForCausalLM"],
              attention_dropout=0.0, bias=False, bos_token_id=11, eos_token_id=11, hidden_dropout=0.0,
              initializer_range=0.02, layer_norm_epsilon=1e-5, model_type="falcon", multi_query=True,
              new_decoder_architecture=False, hidden_size=60, num_attention_heads=5, num_hidden_layers=3,
              parallel_attn=True, rope_scaling=None, rope_theta=10000.0, torch_dtype="float32",
              transformers_version="4.27.4", use_cache=True, vocab_size=203), 22,
         same_as=SIZES | dict(model_type="falcon", max_position_embeddings=2048,
                              rope_parameters=dict(rope_theta=10000.0, rope_type="default")),
         rules=RULES, gain=GAIN,
         drops=COMMON | {"the rotation's base": {"rope_parameters.rope_theta": 1e6},
                         "gelu": {"activation": "relu"}}),
    # 40b, 180b: groups of heads, two norms.
    case("falcon_new", "v5",
         SIZES | dict(model_type="falcon", hidden_size=72, num_attention_heads=6, num_kv_heads=2, ffn_hidden_size=100,
                      new_decoder_architecture=True, multi_query=True, bos_token_id=1, eos_token_id=2,
                      rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 24,
         rules=RULES, gain=GAIN,
         drops=COMMON | {"rows by groups": rows_as(grouped_rows), "the second norm": zeroed("ln_mlp")}),
    # 11B: groups of heads, one norm, biases put in, a head of its own.
    case("falcon_new_one_norm", "v5",
         SIZES | dict(model_type="falcon", hidden_size=48, num_attention_heads=6, num_kv_heads=3, bias=True,
                      new_decoder_architecture=True, num_ln_in_parallel_attn=1, tie_word_embeddings=False,
                      bos_token_id=1, eos_token_id=2,
                      rope_parameters=dict(rope_theta=50000.0, rope_type="default")), 20,
         rules=RULES, gain=dict(qkv=1.75), drops=COMMON | {"rows by groups": rows_as(grouped_rows),
                                                           "biases": zeroed("bias")}),
    # falcon-rw-1b: ALiBi, heads of their own, one part after the other. The heads are no power of two.
    case("falcon_alibi", "v4",
         dict(alibi=True, apply_residual_connection_post_layernorm=False, architectures=["FalconForCausalLM"],
              attention_dropout=0.0, bias=True, bos_token_id=1, eos_token_id=2, hidden_dropout=0.0,
              hidden_size=60, initializer_range=0.02, layer_norm_epsilon=1e-5, model_type="falcon",
              multi_query=False, new_decoder_architecture=False, num_attention_heads=6, num_hidden_layers=3,
              parallel_attn=False, torch_dtype="float32", transformers_version="4.27.4", use_cache=True,
              vocab_size=131), 37,
         same_as=SIZES | dict(model_type="falcon", vocab_size=131, num_attention_heads=6, alibi=True, bias=True,
                              multi_query=False, parallel_attn=False, max_position_embeddings=2048),
         attention="sdpa", rules=RULES, gain=GAIN,
         drops=COMMON | {"rows by heads": rows_as(grouped_rows), "biases of projections": zeroed("bias"),
                         "ALiBi": no_alibi, "the division of its biases": alibi_unscaled}),
]
