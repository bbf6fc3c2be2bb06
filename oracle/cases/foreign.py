"""Families that transformers 5.23 does not have; the reference is a class that computes the same.

minicpm (v1 to 4): Llama with `scale_emb` on the embedding, scale_depth / sqrt(layers) on what each part adds to the
residual, and the last hidden state divided by hidden / dim_model_base, also where the head is tied. Granite has all three under
other names. Some copies say `model_type: llama` and keep the keys: they mean the same.
mimo (v1): qwen2, whose `mtp_layers` are ignored. exaone (3.x): Llama with other names of tensors and some of keys;
`c_fc_0` is the gate, `c_fc_1` up. Both tie the head only if the key says so.
"""

from .common import case, renamed

MINICPM = dict(
    attention_bias=False, attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu", hidden_size=60,
    initializer_range=0.1, intermediate_size=88, max_position_embeddings=512, num_attention_heads=6,
    num_hidden_layers=4, num_key_value_heads=2, rms_norm_eps=1e-5, rope_scaling=None, torch_dtype="float32",
    transformers_version="4.36.0", use_cache=True, vocab_size=203, scale_emb=3, dim_model_base=40, scale_depth=1.4)


def as_granite(config):
    kept = {k: v for k, v in config.items() if not k.startswith("scale_") and k != "dim_model_base"}
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return kept | dict(
        model_type="granite", architectures=["GraniteForCausalLM"], embedding_multiplier=config["scale_emb"],
        residual_multiplier=config["scale_depth"] / config["num_hidden_layers"]**0.5,
        attention_multiplier=head_dim**-0.5, logits_scaling=config["hidden_size"] / config["dim_model_base"],
        tie_word_embeddings=config.get("tie_word_embeddings", config["model_type"] == "minicpm"))


MINICPM_DROPS = {"scale_emb": {"embedding_multiplier": 1.0}, "scale_depth": {"residual_multiplier": 1.0},
                 "dim_model_base": {"logits_scaling": 1.0}}
FACTORS = dict(short_factor=[1.0, 1.1, 1.2, 1.4, 1.7], long_factor=[1.0, 1.8, 3.1, 5.3, 7.9])

MINICPM_CASES = [
    # MiniCPM-2B's config.json, scaled down: tied by default.
    case("minicpm", "v4", MINICPM | dict(architectures=["MiniCPMForCausalLM"], model_type="minicpm"), 22,
         reference_config=as_granite, gain=dict(out=2.5, embed=0.5), drops=MINICPM_DROPS),
    # MiniCPM4's: LongRoPE, here in the long regime, a head of its own.
    case("minicpm_longrope", "v4",
         MINICPM | dict(architectures=["MiniCPMForCausalLM"], model_type="minicpm", tie_word_embeddings=False,
                        rope_theta=10000.0, vocab_size=131,
                        rope_scaling=FACTORS | dict(rope_type="longrope", original_max_position_embeddings=24)), 31,
         reference_config=as_granite,
         drops=MINICPM_DROPS | {"the long factors": {"rope_parameters.long_factor": [1.0] * 5}}),
    case("minicpm_as_llama", "v4",
         MINICPM | dict(architectures=["LlamaForCausalLM"], model_type="llama", num_hidden_layers=3, vocab_size=131,
                        mlp_bias=False, rope_theta=10000.0, tie_word_embeddings=True), 20,
         reference_config=as_granite, gain=dict(out=2.5, embed=0.5), drops=MINICPM_DROPS),
]

MIMO = dict(
    architectures=["MiMoForCausalLM"], attention_bias=True, attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
    head_dim=16, hidden_act="silu", hidden_size=56, initializer_range=0.02, intermediate_size=72,
    max_position_embeddings=512, max_window_layers=3, model_type="mimo", num_attention_heads=4, num_hidden_layers=3,
    num_key_value_heads=1, num_nextn_predict_layers=1, rms_norm_eps=1e-5, rope_theta=640000, sliding_window=None,
    tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.40.1", use_cache=True,
    use_sliding_window=False, vocab_size=203)
PREDICTOR = "model.mtp_layers.0."
MIMO_CASES = [
    case("mimo", "v4", MIMO, 22,
         reference_config=lambda config: config | dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"]),
         extra={f"{PREDICTOR}input_proj.weight": [56, 112], f"{PREDICTOR}token_layernorm.weight": [56],
                f"{PREDICTOR}hidden_layernorm.weight": [56], f"{PREDICTOR}final_layernorm.weight": [56],
                f"{PREDICTOR}self_attn.q_proj.weight": [64, 56], f"{PREDICTOR}self_attn.q_proj.bias": [64],
                f"{PREDICTOR}mlp.gate_proj.weight": [72, 56], f"{PREDICTOR}input_layernorm.weight": [56]},
         drops={"theta 640000 as 1e4": {"rope_parameters.rope_theta": 1e4}}),
]

EXAONE_NAMES = (
    ("model.embed_tokens.", "transformer.wte."), ("model.layers.", "transformer.h."), ("model.norm.", "transformer.ln_f."),
    (".input_layernorm.", ".ln_1."), (".post_attention_layernorm.", ".ln_2."),
    (".self_attn.o_proj.", ".attn.attention.out_proj."),
    (".self_attn.", ".attn.attention."), (".mlp.gate_proj.", ".mlp.c_fc_0."), (".mlp.up_proj.", ".mlp.c_fc_1."),
    (".mlp.down_proj.", ".mlp.c_proj."),
)


def exaone_as_llama(config):
    moved = dict(num_layers="num_hidden_layers", layer_norm_epsilon="rms_norm_eps", activation_function="hidden_act")
    return {moved.get(k, k): v for k, v in config.items()} | dict(
        model_type="llama", architectures=["LlamaForCausalLM"])


def exaone_back(arrays):
    return renamed(*((hub, llama) for llama, hub in EXAONE_NAMES))(arrays)


EXAONE_RULES = [(r"ln_(1|2|f)\.weight$", 0.2, 1.0), (r"(out_proj|c_proj)\.weight$", "out", 0.0),
                (r"wte\.weight$", "embedding", 0.0)]
EXAONE = dict(
    activation_function="silu", architectures=["ExaoneForCausalLM"], attention_dropout=0.0, bos_token_id=1,
    embed_dropout=0.0, eos_token_id=2, head_dim=16, hidden_size=48, initializer_range=0.02, intermediate_size=72,
    layer_norm_epsilon=1e-5, max_position_embeddings=512, model_type="exaone", num_attention_heads=6,
    num_key_value_heads=2, num_layers=3, pad_token_id=0,
    rope_scaling=dict(factor=8.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=64,
                      rope_type="llama3"),
    rope_theta=1000000, tie_word_embeddings=True, torch_dtype="float32", transformers_version="4.43.0", use_cache=True,
    vocab_size=203)
EXAONE_CASES = [
    # EXAONE-3.5-2.4B's config.json, scaled down.
    case("exaone", "v4", EXAONE, 22, reference_config=exaone_as_llama, layout=renamed(*EXAONE_NAMES),
         reference=exaone_back, rules=EXAONE_RULES, gain=dict(out=2.5, embedding=3.5),
         drops={"llama3 scaling": {"rope_parameters.rope_type": "default"}}),
    case("exaone_untied", "v4",
         {k: v for k, v in EXAONE.items() if k not in ("rope_scaling", "head_dim")} | dict(
             tie_word_embeddings=False, vocab_size=131, num_attention_heads=4, num_key_value_heads=4,
             rope_theta=500000.0, num_layers=2), 20,
         reference_config=exaone_as_llama, layout=renamed(*EXAONE_NAMES), reference=exaone_back, rules=EXAONE_RULES,
         gain=dict(embedding=7.0), drops={"theta 5e5 as 1e4": {"rope_parameters.rope_theta": 1e4}}),
]

CASES = MINICPM_CASES + MIMO_CASES + EXAONE_CASES
