"""llama, mistral, qwen2, qwen3: attention and a gated network behind RMS norms."""

from .common import case

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

CASES = LLAMA_CASES + MISTRAL_CASES + QWEN_CASES
