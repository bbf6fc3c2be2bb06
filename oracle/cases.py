"""The tiny models: one entry per folder of fixtures/.

A case of style "v5" gives constructor arguments and its config.json is what transformers 5 writes; a case of
style "v4" gives the whole config.json as a hub checkpoint of the transformers-4 years has it. Either way the
reference is built from the file.

Keys of a case
    prompt    length of the prompt
    gain      gains of the matrices by kind (see make_fixtures.spec); a matrix is N * gain / sqrt(fan_in)
    same_as   (v4 only) constructor arguments in the v5 spelling that must give bit-identical logits
    drops     label -> changes to the loaded configuration; the report says how far the logits move
"""


def case(name, style, config, prompt, **more):
    return {"name": name, "style": style, "config": config, "prompt": prompt, **more}


LLAMA = dict(
    model_type="llama", vocab_size=203, hidden_size=48, intermediate_size=88, num_hidden_layers=3,
    num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5,
    bos_token_id=1, eos_token_id=2, pad_token_id=0,
)

LLAMA_HUB = dict(
    architectures=["LlamaForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
    hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=88, max_position_embeddings=512,
    mlp_bias=False, model_type="llama", num_attention_heads=6, num_hidden_layers=3, num_key_value_heads=2,
    pretraining_tp=1, rms_norm_eps=1e-5, rope_scaling=None, rope_theta=10000.0, tie_word_embeddings=False,
    torch_dtype="float32", transformers_version="4.45.2", use_cache=True, vocab_size=203,
)

PLAIN_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}

LLAMA_CASES = [
    case("llama_plain", "v5", LLAMA | PLAIN_ROPE, 19, drops={"rope (theta 1e6)": {"rope_parameters.rope_theta": 1e6}}),
    # Llama 3.2's config.json, scaled down. Wavelengths 6.3, 24.3, 94 …: one kept, one interpolated, the rest divided.
    case(
        "llama3_rope_tied", "v4",
        LLAMA_HUB | dict(
            bos_token_id=200, eos_token_id=[201, 202], head_dim=16, hidden_size=60, num_attention_heads=5,
            num_key_value_heads=1, num_hidden_layers=4, max_position_embeddings=256, tie_word_embeddings=True,
            rope_theta=50000.0, transformers_version="4.45.0.dev0",
            rope_scaling=dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                              original_max_position_embeddings=32, rope_type="llama3"),
        ), 41,
        same_as=LLAMA | dict(
            head_dim=16, hidden_size=60, num_attention_heads=5, num_key_value_heads=1, num_hidden_layers=4,
            max_position_embeddings=256, tie_word_embeddings=True,
            rope_parameters=dict(rope_theta=50000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                 high_freq_factor=4.0, original_max_position_embeddings=32)),
        gain=dict(out=2.5, embed=0.5),
        drops={"llama3 scaling": {"rope_parameters.rope_type": "default"}},
    ),
    # The oldest spelling: rope_scaling.type.
    case(
        "llama_linear_bias", "v4",
        LLAMA_HUB | dict(
            attention_bias=True, mlp_bias=True, hidden_size=40, num_attention_heads=5, num_key_value_heads=1,
            intermediate_size=72, vocab_size=131, rope_scaling=dict(type="linear", factor=4.0)), 17,
        same_as=LLAMA | dict(
            attention_bias=True, mlp_bias=True, hidden_size=40, num_attention_heads=5, num_key_value_heads=1,
            intermediate_size=72, vocab_size=131,
            rope_parameters=dict(rope_theta=10000.0, rope_type="linear", factor=4.0)),
        drops={"linear factor": {"rope_parameters.rope_type": "default"},
               "biases": {"attention_bias": False, "mlp_bias": False}},
    ),
    case(
        "llama_yarn", "v5",
        LLAMA | dict(
            head_dim=16, max_position_embeddings=2048,
            rope_parameters=dict(rope_theta=10000.0, rope_type="yarn", factor=4.0,
                                 original_max_position_embeddings=512)), 33,
        drops={"yarn": {"rope_parameters.rope_type": "default"},
               "yarn's attention factor": {"rope_parameters.attention_factor": 1.0}},
    ),
    case(
        "llama_yarn_v4", "v4",
        LLAMA_HUB | dict(
            head_dim=16, max_position_embeddings=1024,
            rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=256, beta_fast=16,
                              beta_slow=2, attention_factor=1.25)), 29,
        same_as=LLAMA | dict(
            head_dim=16, max_position_embeddings=1024,
            rope_parameters=dict(rope_theta=10000.0, rope_type="yarn", factor=4.0, beta_fast=16, beta_slow=2,
                                 original_max_position_embeddings=256, attention_factor=1.25)),
        drops={"yarn": {"rope_parameters.rope_type": "default"},
               "attention_factor": {"rope_parameters.attention_factor": None},
               "beta_fast, beta_slow": {"rope_parameters.beta_fast": None, "rope_parameters.beta_slow": None}},
    ),
    # mscale keys, no truncation of the correction range, and no factor of its own in the length of the context.
    case(
        "llama_yarn_mscale", "v4",
        LLAMA_HUB | dict(
            head_dim=20, max_position_embeddings=1024,
            rope_scaling=dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=128, mscale=1.3,
                              mscale_all_dim=0.4, truncate=False)), 29,
        same_as=LLAMA | dict(
            head_dim=20, max_position_embeddings=1024,
            rope_parameters=dict(rope_theta=10000.0, rope_type="yarn", factor=8.0, mscale=1.3, mscale_all_dim=0.4,
                                 original_max_position_embeddings=128, truncate=False)),
        drops={"mscale": {"rope_parameters.mscale": None},
               "truncate = false": {"rope_parameters.truncate": True}},
    ),
    case(
        "llama_dynamic", "v5",
        LLAMA | dict(max_position_embeddings=24,
                     rope_parameters=dict(rope_theta=10000.0, rope_type="dynamic", factor=4.0)), 15,
        drops={"dynamic": {"rope_parameters.rope_type": "default"}},
    ),
    case(
        "llama_dynamic_long", "v4",
        LLAMA_HUB | dict(max_position_embeddings=24, rope_scaling=dict(type="dynamic", factor=3.0)), 37,
        same_as=LLAMA | dict(max_position_embeddings=24,
                             rope_parameters=dict(rope_theta=10000.0, rope_type="dynamic", factor=3.0)),
        drops={"dynamic": {"rope_parameters.rope_type": "default"}},
    ),
    case("llama_bf16", "v5", LLAMA | PLAIN_ROPE | dict(dtype="bfloat16"), 19, drops={}),
    case("llama_f16", "v4", LLAMA_HUB | dict(torch_dtype="float16"), 19, same_as=LLAMA | PLAIN_ROPE, drops={}),
    # The first Llama files: no key/value heads, no rope keys, no biases, no eps for a reader to lean on.
    case(
        "llama_old_hub", "v4",
        dict(architectures=["LlamaForCausalLM"], bos_token_id=1, eos_token_id=2, hidden_act="silu", hidden_size=48,
             initializer_range=0.02, intermediate_size=104, max_sequence_length=128, model_type="llama",
             num_attention_heads=4, num_hidden_layers=2, pad_token_id=0, torch_dtype="float32",
             transformers_version="4.28.0.dev0", use_cache=True, vocab_size=97), 13,
        same_as=dict(model_type="llama", vocab_size=97, hidden_size=48, intermediate_size=104, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=4, head_dim=12, max_position_embeddings=2048,
                     rms_norm_eps=1e-6, tie_word_embeddings=False, attention_bias=False, mlp_bias=False,
                     rope_parameters=dict(rope_theta=10000.0, rope_type="default")),
        drops={"theta 1e4 as 1e6": {"rope_parameters.rope_theta": 1e6}},
    ),
    case("llama_one_token", "v5", LLAMA | PLAIN_ROPE | dict(vocab_size=97, tie_word_embeddings=True), 1,
         gain=dict(out=2.5, embed=0.5), drops={}),
]

MISTRAL_CASES = [
    case(
        "mistral", "v5",
        dict(model_type="mistral", vocab_size=203, hidden_size=48, intermediate_size=88, num_hidden_layers=3,
             num_attention_heads=6, num_key_value_heads=2, head_dim=10, max_position_embeddings=512,
             sliding_window=8, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0,
             rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
        drops={"window": {"sliding_window": None}, "window one longer": {"sliding_window": 9}},
    ),
    case(
        "mistral_full", "v4",
        dict(architectures=["MistralForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
             hidden_act="silu", hidden_size=40, initializer_range=0.02, intermediate_size=104,
             max_position_embeddings=512, model_type="mistral", num_attention_heads=5, num_hidden_layers=2,
             num_key_value_heads=1, rms_norm_eps=1e-5, rope_theta=1000000.0, sliding_window=None,
             tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.42.0.dev0", use_cache=True,
             vocab_size=211), 21,
        same_as=dict(model_type="mistral", vocab_size=211, hidden_size=40, intermediate_size=104,
                     num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=1, head_dim=8,
                     max_position_embeddings=512, sliding_window=None, rms_norm_eps=1e-5,
                     rope_parameters=dict(rope_theta=1e6, rope_type="default")),
        drops={"theta 1e6 as 1e4": {"rope_parameters.rope_theta": 1e4}, "a window of 8 put in": {"sliding_window": 8}},
    ),
]

QWEN2_HUB = dict(
    architectures=["Qwen2ForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu",
    hidden_size=56, initializer_range=0.02, intermediate_size=88, max_position_embeddings=512, max_window_layers=2,
    model_type="qwen2", num_attention_heads=7, num_hidden_layers=4, num_key_value_heads=1, rms_norm_eps=1e-6,
    rope_theta=1000000.0, sliding_window=8, tie_word_embeddings=False, torch_dtype="float32",
    transformers_version="4.43.1", use_cache=True, use_sliding_window=True, vocab_size=203,
)

QWEN_CASES = [
    case(
        "qwen2", "v4", QWEN2_HUB, 27,
        same_as=dict(model_type="qwen2", vocab_size=203, hidden_size=56, intermediate_size=88, num_hidden_layers=4,
                     num_attention_heads=7, num_key_value_heads=1, max_position_embeddings=512, rms_norm_eps=1e-6,
                     use_sliding_window=True, sliding_window=8,
                     layer_types=["full_attention"] * 2 + ["sliding_attention"] * 2,
                     rope_parameters=dict(rope_theta=1e6, rope_type="default")),
        drops={"windows": {"layer_types": ["full_attention"] * 4},
               "window in every layer": {"layer_types": ["sliding_attention"] * 4}},
    ),
    case(
        "qwen2_tied", "v4",
        QWEN2_HUB | dict(hidden_size=48, num_attention_heads=6, num_key_value_heads=3, num_hidden_layers=3,
                         tie_word_embeddings=True, use_sliding_window=False, max_window_layers=1, vocab_size=211), 25,
        same_as=dict(model_type="qwen2", vocab_size=211, hidden_size=48, intermediate_size=88, num_hidden_layers=3,
                     num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=512, rms_norm_eps=1e-6,
                     tie_word_embeddings=True, rope_parameters=dict(rope_theta=1e6, rope_type="default")),
        gain=dict(out=2.5, embed=0.5),
        drops={"windows put in": {"sliding_window": 8, "layer_types": ["full_attention"] + ["sliding_attention"] * 2}},
    ),
    case(
        "qwen3", "v5",
        dict(model_type="qwen3", vocab_size=203, hidden_size=48, intermediate_size=88, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, head_dim=20, max_position_embeddings=512,
             rms_norm_eps=1e-6, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
             rope_parameters=dict(rope_theta=1000000.0, rope_type="default")), 22,
        gain=dict(out=2.5, embed=0.5),
        drops={"theta 1e6 as 1e4": {"rope_parameters.rope_theta": 1e4}},
    ),
    case(
        "qwen3_v4style", "v4",
        dict(architectures=["Qwen3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=1,
             eos_token_id=2, head_dim=12, hidden_act="silu", hidden_size=40, initializer_range=0.02,
             intermediate_size=72, max_position_embeddings=512, max_window_layers=3, model_type="qwen3",
             num_attention_heads=6, num_hidden_layers=3, num_key_value_heads=3, rms_norm_eps=1e-6,
             rope_scaling=None, rope_theta=1000000, sliding_window=None, tie_word_embeddings=False,
             torch_dtype="float32", transformers_version="4.51.0", use_cache=True, use_sliding_window=False,
             vocab_size=131), 22,
        same_as=dict(model_type="qwen3", vocab_size=131, hidden_size=40, intermediate_size=72, num_hidden_layers=3,
                     num_attention_heads=6, num_key_value_heads=3, head_dim=12, max_position_embeddings=512,
                     rms_norm_eps=1e-6, rope_parameters=dict(rope_theta=1e6, rope_type="default")),
        drops={"theta 1e6 as 1e4": {"rope_parameters.rope_theta": 1e4}},
    ),
]

# Tied and sandwiched between norms, gemma would repeat its last token for ever: small embeddings let the layers
# speak, a large final norm gives the logits their size back.
GEMMA_GAIN = dict(embed=0.046875, out=1.0, qk=2.0, final=4.0)

GEMMA_CASES = [
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

CASES = LLAMA_CASES + MISTRAL_CASES + QWEN_CASES + GEMMA_CASES
