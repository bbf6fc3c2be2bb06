"""gemma, gemma2, gemma3_text: norms of 1 + weight (on both sides since gemma2), windows, soft-caps, two rotary bases."""

from .common import case

# Tied and sandwiched between norms, gemma would repeat its last token for ever: small embeddings let the layers
# speak, a large final norm gives the logits their size back.
GEMMA_GAIN = dict(embed=0.046875, out=1.0, qk=2.0, final=4.0)



def plain_norms(model):
    for module in model.modules():
        if type(module).__name__ == "GemmaRMSNorm":
            module.weight.data -= 1


def embedding_not_scaled(model):
    model.model.embed_tokens.embed_scale.fill_(1.0)


GEMMA_DROPS = {"norms of 1 + weight": plain_norms, "the embedding's scale": embedding_not_scaled,
               "gelu": {"hidden_act": "silu"}}

CASES = [
    case(
        "gemma2", "v5",
        dict(model_type="gemma2", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=4,
             num_attention_heads=6, num_key_value_heads=2, head_dim=14, max_position_embeddings=512,
             sliding_window=8, query_pre_attn_scalar=21, attn_logit_softcapping=2.0, final_logit_softcapping=6.0,
             rms_norm_eps=1e-6, bos_token_id=2, eos_token_id=1, pad_token_id=0,
             rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
        gain=GEMMA_GAIN,
        drops={"windows": {"layer_types": ["full_attention"] * 4},
               "windows and full layers exchanged": {"layer_types": ["full_attention", "sliding_attention"] * 2},
               "attention soft-cap": {"attn_logit_softcapping": None},
               "final soft-cap": {"final_logit_softcapping": None},
               "query_pre_attn_scalar as head_dim": {"query_pre_attn_scalar": 14}},
    ),
    case(
        "gemma2_v4style", "v4",
        dict(architectures=["Gemma2ForCausalLM"], attention_bias=False, attention_dropout=0.0,
             attn_logit_softcapping=3.0, bos_token_id=2, cache_implementation="hybrid", eos_token_id=1,
             final_logit_softcapping=7.0, head_dim=12, hidden_act="gelu_pytorch_tanh",
             hidden_activation="gelu_pytorch_tanh", hidden_size=40, initializer_range=0.02, intermediate_size=104,
             max_position_embeddings=512, model_type="gemma2", num_attention_heads=5, num_hidden_layers=3,
             num_key_value_heads=1, pad_token_id=0, query_pre_attn_scalar=9, rms_norm_eps=1e-6, rope_theta=10000.0,
             sliding_window=6, sliding_window_size=6, torch_dtype="float32", transformers_version="4.42.0.dev0",
             use_cache=True, vocab_size=131), 25,
        same_as=dict(model_type="gemma2", vocab_size=131, hidden_size=40, intermediate_size=104, num_hidden_layers=3,
                     num_attention_heads=5, num_key_value_heads=1, head_dim=12, max_position_embeddings=512,
                     sliding_window=6, query_pre_attn_scalar=9, attn_logit_softcapping=3.0,
                     final_logit_softcapping=7.0, rms_norm_eps=1e-6, pad_token_id=0,
                     layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                     rope_parameters=dict(rope_theta=10000.0, rope_type="default")),
        gain=GEMMA_GAIN,
        drops={"windows": {"layer_types": ["full_attention"] * 3},
               "attention soft-cap": {"attn_logit_softcapping": None}},
    ),
    case(
        "gemma3_text", "v5",
        dict(model_type="gemma3_text", vocab_size=203, hidden_size=64, intermediate_size=88, num_hidden_layers=7,
             num_attention_heads=4, num_key_value_heads=1, head_dim=18, max_position_embeddings=1024,
             sliding_window=8, query_pre_attn_scalar=21, rms_norm_eps=1e-6, bos_token_id=2, eos_token_id=1,
             pad_token_id=0,
             rope_parameters=dict(
                 full_attention=dict(rope_theta=1000000.0, rope_type="linear", factor=8.0),
                 sliding_attention=dict(rope_theta=10000.0, rope_type="default"))), 26,
        gain=GEMMA_GAIN | dict(final=8.0),
        drops={"windows": {"layer_types": ["full_attention"] * 7},
               "linear factor": {"rope_parameters.full_attention.factor": 1.0},
               "the local base": {"rope_parameters.sliding_attention.rope_theta": 1e6},
               "the global base": {"rope_parameters.full_attention.rope_theta": 1e4}},
    ),
    # google/gemma-3-1b-it's spelling, with a pattern that is not 6.
    case(
        "gemma3_text_v4style", "v4",
        dict(architectures=["Gemma3ForCausalLM"], attention_bias=False, attention_dropout=0.0,
             attn_logit_softcapping=None, bos_token_id=2, cache_implementation="hybrid", eos_token_id=[1, 106],
             final_logit_softcapping=None, head_dim=14, hidden_activation="gelu_pytorch_tanh", hidden_size=60,
             initializer_range=0.02, intermediate_size=72, max_position_embeddings=512, model_type="gemma3_text",
             num_attention_heads=5, num_hidden_layers=6, num_key_value_heads=1, pad_token_id=0,
             query_pre_attn_scalar=10, rms_norm_eps=1e-6, rope_local_base_freq=5000,
             rope_scaling=dict(factor=4.0, rope_type="linear"), rope_theta=1000000, sliding_window=8,
             sliding_window_pattern=3, torch_dtype="float32", transformers_version="4.50.0.dev0", use_cache=True,
             vocab_size=203), 26,
        same_as=dict(model_type="gemma3_text", vocab_size=203, hidden_size=60, intermediate_size=72,
                     num_hidden_layers=6, num_attention_heads=5, num_key_value_heads=1, head_dim=14,
                     max_position_embeddings=512, sliding_window=8, query_pre_attn_scalar=10, rms_norm_eps=1e-6,
                     pad_token_id=0,
                     layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
                     rope_parameters=dict(
                         full_attention=dict(rope_theta=1e6, rope_type="linear", factor=4.0),
                         sliding_attention=dict(rope_theta=5000, rope_type="default"))),
        gain=GEMMA_GAIN | dict(final=8.0),
        drops={"windows": {"layer_types": ["full_attention"] * 6},
               "linear factor": {"rope_parameters.full_attention.factor": 1.0},
               "the local base": {"rope_parameters.sliding_attention.rope_theta": 1e6}},
    ),
    # Both keys: layer_types beats sliding_window_pattern. No rope_scaling, bases by default.
    case(
        "gemma3_text_layer_types", "v4",
        dict(architectures=["Gemma3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=2,
             eos_token_id=1, head_dim=16, hidden_activation="gelu_pytorch_tanh", hidden_size=48,
             initializer_range=0.02, intermediate_size=72,
             layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention",
                          "sliding_attention", "full_attention"],
             max_position_embeddings=512, model_type="gemma3_text", num_attention_heads=6, num_hidden_layers=6,
             num_key_value_heads=2, pad_token_id=0, query_pre_attn_scalar=16, rms_norm_eps=1e-6,
             rope_local_base_freq=10000.0, rope_scaling=None, rope_theta=1000000.0, sliding_window=6,
             sliding_window_pattern=2, torch_dtype="float32", transformers_version="4.53.0", use_cache=True,
             vocab_size=131), 24,
        same_as=dict(model_type="gemma3_text", vocab_size=131, hidden_size=48, intermediate_size=72,
                     num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=2, head_dim=16,
                     max_position_embeddings=512, sliding_window=6, query_pre_attn_scalar=16, rms_norm_eps=1e-6,
                     pad_token_id=0,
                     layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention",
                                  "sliding_attention", "full_attention"],
                     rope_parameters=dict(full_attention=dict(rope_theta=1e6, rope_type="default"),
                                          sliding_attention=dict(rope_theta=10000.0, rope_type="default"))),
        gain=GEMMA_GAIN | dict(final=8.0),
        drops={"layer_types (the pattern instead)": {"layer_types": ["sliding_attention", "full_attention"] * 3}},
    ),
]

CASES += [
    case(
        "gemma", "v5",
        dict(model_type="gemma", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3,
             num_attention_heads=5, num_key_value_heads=1, head_dim=14, max_position_embeddings=512,
             rms_norm_eps=1e-6, bos_token_id=2, eos_token_id=1, pad_token_id=0,
             rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
        gain=GEMMA_GAIN | dict(out=1.5, final=8.0), drops=GEMMA_DROPS,
    ),
    # google/gemma-2b's config.json, scaled down: "gelu" means its tanh form.
    case(
        "gemma_v4style", "v4",
        dict(architectures=["GemmaForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=2,
             eos_token_id=1, head_dim=16, hidden_act="gelu", hidden_activation=None, hidden_size=40,
             initializer_range=0.02, intermediate_size=104, max_position_embeddings=512, model_type="gemma",
             num_attention_heads=4, num_hidden_layers=3, num_key_value_heads=2, pad_token_id=0, rms_norm_eps=1e-6,
             rope_scaling=None, rope_theta=10000.0, torch_dtype="float32", transformers_version="4.38.0.dev0",
             use_cache=True, vocab_size=131), 21,
        same_as=dict(model_type="gemma", vocab_size=131, hidden_size=40, intermediate_size=104, num_hidden_layers=3,
                     num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=512,
                     rms_norm_eps=1e-6, hidden_act="gelu_pytorch_tanh",
                     rope_parameters=dict(rope_theta=10000.0, rope_type="default")),
        gain=GEMMA_GAIN | dict(out=1.5, final=8.0), drops=GEMMA_DROPS,
    ),
]
