"""Llama under other names: seed_oss, ernie4_5, internlm3, cwm.

seed_oss: `attention_bias` (true where absent) is for queries, keys and values, `attention_out_bias` for the output;
head_dim 128 where absent. ernie4_5: rotated in interleaved pairs, `use_bias` puts biases in every projection, head_dim 128
and the head tied where the keys are absent. internlm3: `qkv_bias` and `bias` (never different) put them into attention and
network; its `rope_scaling` is dynamic; head_dim 128 where absent. cwm: windows of 8192 in all but every fourth layer,
beginning with the first; llama3 scaling by 16 from 8192 where the keys are absent.
"""

from .common import case, half_split, zeroed

SIZES = dict(vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, head_dim=14, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
             pad_token_id=0)
ROPE = dict(rope_parameters=dict(rope_theta=10000.0, rope_type="default"))
HUB = dict(
    attention_dropout=0.0, bos_token_id=1, eos_token_id=2, head_dim=16, hidden_act="silu", hidden_size=48,
    initializer_range=0.02, intermediate_size=72, max_position_embeddings=512, num_attention_heads=4,
    num_hidden_layers=3, num_key_value_heads=1, pad_token_id=0, torch_dtype="float32",
    transformers_version="4.55.0", use_cache=True, vocab_size=131)
MODERN = {k: v for k, v in HUB.items() if k not in ("torch_dtype", "transformers_version", "initializer_range")}

SEED_OSS_CASES = [
    case("seed_oss", "v5", SIZES | ROPE | dict(model_type="seed_oss", rms_norm_eps=1e-6, attention_out_bias=True,
                                               attention_bias=False, mlp_bias=True), 22,
         drops={"the output's bias": zeroed("o_proj.bias"), "the network's biases": zeroed("down_proj.bias")}),
    # Seed-OSS-36B's config.json, scaled down, without its attention_bias.
    case("seed_oss_v4style", "v4",
         HUB | dict(architectures=["SeedOssForCausalLM"], attention_out_bias=False, mlp_bias=False,
                    model_type="seed_oss", residual_dropout=0.1, rms_norm_eps=1e-6,
                    rope_scaling=dict(rope_type="default"), rope_theta=10000000.0, tie_word_embeddings=False), 20,
         same_as=MODERN | dict(model_type="seed_oss", attention_bias=True, rms_norm_eps=1e-6,
                               rope_parameters=dict(rope_theta=1e7, rope_type="default")),
         drops={"biases of queries, keys and values": zeroed("proj.bias")}),
]

ERNIE_CASES = [
    case("ernie4_5", "v5", SIZES | ROPE | dict(model_type="ernie4_5", rms_norm_eps=1e-5, use_bias=True,
                                               tie_word_embeddings=False), 22,
         drops={"the interleaved rotation": half_split(14), "biases": {"use_bias": False}}),
    # ERNIE-4.5-0.3B's config.json, scaled down, without its key for the tied head.
    case("ernie4_5_v4style", "v4",
         HUB | dict(architectures=["Ernie4_5ForCausalLM"], model_type="ernie4_5", rms_norm_eps=1e-5,
                    rope_theta=500000.0, use_bias=False), 20,
         same_as=MODERN | dict(model_type="ernie4_5", rms_norm_eps=1e-5, tie_word_embeddings=True,
                               rope_parameters=dict(rope_theta=500000.0, rope_type="default")),
         gain=dict(out=2.5, embed=0.5),
         drops={"the interleaved rotation": half_split(16)}),
]

INTERNLM_CASES = [
    case("internlm3", "v5", SIZES | ROPE | dict(model_type="internlm3", rms_norm_eps=1e-5, attention_bias=True,
                                                mlp_bias=True), 22,
         drops={"biases": {"attention_bias": False, "mlp_bias": False}}),
    # internlm3-8b's config.json, scaled down: the maximum is passed on the way.
    case("internlm3_v4style", "v4",
         HUB | dict(architectures=["InternLM3ForCausalLM"], bias=False, max_position_embeddings=32,
                    model_type="internlm3", qkv_bias=False, rms_norm_eps=1e-5,
                    rope_scaling=dict(factor=6.0, rope_type="dynamic"), rope_theta=50000,
                    tie_word_embeddings=False), 20,
         same_as=MODERN | dict(model_type="internlm3", max_position_embeddings=32, rms_norm_eps=1e-5,
                               rope_parameters=dict(rope_theta=50000, rope_type="dynamic", factor=6.0)),
         drops={"dynamic": {"rope_parameters.rope_type": "default"}}),
]

CWM_CASES = [
    case("cwm", "v5", SIZES | dict(model_type="cwm", num_hidden_layers=5, sliding_window=8, mlp_bias=True, rms_norm_eps=1e-5,
                                   rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
         drops={"windows": {"sliding_window": 512}, "the full layers": {"layer_types": ["sliding_attention"] * 5},
                "the network's biases": zeroed("down_proj.bias")}),
    # cwm's config.json, scaled down, without its keys of the rotation.
    case("cwm_v4style", "v4",
         HUB | dict(architectures=["CwmForCausalLM"], model_type="cwm", layer_types=[
             "full_attention", "sliding_attention", "full_attention"], mlp_bias=False, pretraining_tp=1,
             rms_norm_eps=1e-5, rope_scaling=None, rope_theta=10000.0, sliding_window=6, tie_word_embeddings=False), 20,
         same_as=MODERN | dict(model_type="cwm", rms_norm_eps=1e-5, sliding_window=6, layer_types=[
             "full_attention", "sliding_attention", "full_attention"], rope_parameters=dict(
                 rope_theta=1e6, rope_type="llama3", factor=16.0, high_freq_factor=4.0, low_freq_factor=1.0,
                 original_max_position_embeddings=8192)),
         drops={"windows": {"sliding_window": 512}, "the base of the rotation": {"rope_parameters.rope_theta": 1e4}}),
]

CASES = SEED_OSS_CASES + ERNIE_CASES + INTERNLM_CASES + CWM_CASES
