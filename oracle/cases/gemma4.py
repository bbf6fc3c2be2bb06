"""gemma4 in its three kinds, and its wrappers: layers of two geometries, norms of the plain weight, scale 1.

Full-attention layers have heads of `global_head_dim` (512 where it is absent) and, only with `attention_k_eq_v`,
`num_global_key_value_heads`; transformers 5 saves both as `per_layer_config`. The last layer is always a full one. The
proportional rotation divides its exponents by the whole head. Layers that reuse keys and values may still have theirs in
a checkpoint. The wrapper's config has no text model of its own: AutoModelForCausalLM opens the whole.
"""

import torch

from .common import case, zeroed

RULES = [
    (r"self_attn\.[qk]_norm\.weight$", 0.2, 0.75),
    (r"layer_scalar$", 0.25, 0.75),
    (r"embed_tokens_per_layer\.weight$", 0.25, 0.0),
    (r"router\.scale$", 0.25, 1.0),
    (r"router\.per_expert_scale$", 0.25, 1.0),
    (r"router\.proj\.weight$", 1.5, 0.0),
    (r"experts\.down_proj$", "out", 0.0),
]
# As for gemma2: small embeddings let the layers speak, a large final norm gives the logits their size back.
GAIN = dict(embed=0.0625, out=1.5, qk=1.75, final=4.0)

S, F = "sliding_attention", "full_attention"


def rope(local, everywhere, partial):
    return {F: dict(partial_rotary_factor=partial, rope_theta=everywhere, rope_type="proportional"),
            S: dict(rope_theta=local, rope_type="default")}


def layer_scalars_of_one(model):
    for name, buffer in model.named_buffers():
        if name.endswith("layer_scalar"):
            buffer.fill_(1.0)


def values_not_normalised(model):
    for module in model.modules():
        if hasattr(module, "v_norm"):
            module.v_norm = torch.nn.Identity()


def keys_of_the_first_layer(model):
    """Layers without keys and values take those of the first layer of their type in place of the last."""
    layers = [m for m in model.modules() if type(m).__name__.endswith("TextAttention") and not m.is_kv_shared_layer]
    for kind in {layer.layer_type for layer in layers}:
        of_kind = [layer for layer in layers if layer.layer_type == kind]
        for layer in of_kind:
            layer.store_full_length_kv = layer is of_kind[0]


def per_expert_scales_of_one(model):
    for name, parameter in model.named_parameters():
        if name.endswith("per_expert_scale"):
            parameter.data.fill_(1.0)


def router_scales_of_one(model):
    for name, parameter in model.named_parameters():
        if name.endswith("router.scale"):
            parameter.data.fill_(1.0)


def one_plus(model):
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "weight"):
            module.weight.data += 1


def drops(prefix="", per_layer=False, experts=False):
    common = {
        "windows": {f"{prefix}sliding_window": 512},
        "the proportional rotation": {f"{prefix}rope_parameters.{F}.rope_type": "default"},
        "layer scalars": layer_scalars_of_one,
        "the values' norm": values_not_normalised,
        "norms of the plain weight": one_plus,
    }
    if per_layer:
        common |= {"per-layer embeddings": zeroed("per_layer_projection.weight"),
                   "the per-layer table": zeroed("embed_tokens_per_layer")}
    if experts:
        common |= {"experts": zeroed("experts.down_proj"), "the network beside them": zeroed("mlp.down_proj"),
                   "scales per expert": per_expert_scales_of_one, "the router's scale": router_scales_of_one}
    return common


TEXT = dict(
    model_type="gemma4_text", vocab_size=203, hidden_size=60, intermediate_size=52, num_hidden_layers=6,
    num_attention_heads=4, num_key_value_heads=1, head_dim=14, global_head_dim=24, max_position_embeddings=512,
    rms_norm_eps=1e-6, sliding_window=8, final_logit_softcapping=6.0, hidden_size_per_layer_input=10,
    vocab_size_per_layer_input=203, num_kv_shared_layers=3, use_double_wide_mlp=True,
    layer_types=[S, S, F, S, S, F], rope_parameters=rope(10000.0, 1e6, 0.25), bos_token_id=2, eos_token_id=1,
    pad_token_id=0,
)

DENSE = {k: v for k, v in TEXT.items() if k not in ("num_kv_shared_layers", "use_double_wide_mlp",
                                                    "vocab_size_per_layer_input", "final_logit_softcapping")} | dict(
    hidden_size_per_layer_input=0, num_attention_heads=6, num_key_value_heads=3, num_global_key_value_heads=2,
    attention_k_eq_v=True)

# What every text_config of the hub has.
HUB = dict(
    attention_bias=False, attention_dropout=0.0, attention_k_eq_v=False, bos_token_id=2, dtype="float32",
    enable_moe_block=False, eos_token_id=1, final_logit_softcapping=6.0, global_head_dim=24, head_dim=14,
    hidden_activation="gelu_pytorch_tanh", hidden_size=60, hidden_size_per_layer_input=0, initializer_range=0.02,
    intermediate_size=52, layer_types=[S, S, F, S, F], max_position_embeddings=512, model_type="gemma4_text",
    num_attention_heads=4, num_experts=None, num_global_key_value_heads=None, num_hidden_layers=5,
    num_key_value_heads=2, num_kv_shared_layers=0, pad_token_id=0, rms_norm_eps=1e-6,
    rope_parameters=rope(10000.0, 1e6, 0.25), sliding_window=8, tie_word_embeddings=True, top_k_experts=None,
    use_bidirectional_attention=None, use_cache=True, use_double_wide_mlp=False, vocab_size=203,
    vocab_size_per_layer_input=203,
)
HUB_E = HUB | dict(hidden_size_per_layer_input=10, layer_types=[S, F, S, S, F], num_key_value_heads=1,
                   num_kv_shared_layers=3, use_double_wide_mlp=True)
HUB_DENSE = HUB | dict(attention_k_eq_v=True, num_global_key_value_heads=1, use_bidirectional_attention="vision")
HUB_MOE = HUB_DENSE | dict(enable_moe_block=True, expert_intermediate_size=18, moe_intermediate_size=18,
                           num_experts=6, top_k_experts=2, hidden_size=48)
HUB_UNIFIED = {k: v for k, v in HUB_DENSE.items() if k not in (
    "enable_moe_block", "hidden_size_per_layer_input", "num_experts", "top_k_experts", "use_double_wide_mlp",
    "vocab_size_per_layer_input")} | dict(model_type="gemma4_unified_text", num_kv_shared_layers=0)

VISION = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
              head_dim=8, patch_size=4, pooling_kernel_size=2, position_embedding_size=12, model_type="gemma4_vision",
              standardize=True, use_clipped_linears=False)
IGNORED = r"vision_tower|embed_vision|audio_tower|embed_audio|vision_embedder"


def wrapper(text, kind="Gemma4", vision=VISION):
    return dict(
        architectures=[f"{kind}ForConditionalGeneration"], audio_config=None, audio_token_id=202, boa_token_id=None,
        boi_token_id=None, dtype="float32", eoa_token_index=None, eoi_token_id=None, eos_token_id=[1, 106],
        image_token_id=200, initializer_range=0.02, model_type=text["model_type"][:-5], text_config=text,
        tie_word_embeddings=True, transformers_version="5.5.0.dev0", video_token_id=201, vision_config=vision,
        vision_soft_tokens_per_image=280,
    )


def unshared(text, prefix="model.language_model."):
    """Keys and values of layers that use those of others: hub checkpoints have them all the same."""
    names = {}
    for layer in range(text["num_hidden_layers"] - text["num_kv_shared_layers"], text["num_hidden_layers"]):
        width = text["global_head_dim"] if text["layer_types"][layer] == F else text["head_dim"]
        place = f"{prefix}layers.{layer}.self_attn."
        names |= {f"{place}k_proj.weight": [text["num_key_value_heads"] * width, text["hidden_size"]],
                  f"{place}v_proj.weight": [text["num_key_value_heads"] * width, text["hidden_size"]],
                  f"{place}k_norm.weight": [width]}
    return names


AUDIO = {"model.audio_tower.output_proj.weight": [12, 12], "model.audio_tower.output_proj.bias": [12],
         "model.embed_audio.embedding_projection.weight": [60, 12]}


E_CASES = [
    # E2B, E4B: per-layer embeddings, shared keys and values, wider networks where they are shared.
    case("gemma4_text", "v5", TEXT, 29, rules=RULES, gain=GAIN,
         drops=drops(per_layer=True) | {
             "keys and values of the last layer of a kind": keys_of_the_first_layer,
             "the final soft-cap": {"final_logit_softcapping": None}}),
    # The hub's spelling of the same, in its wrapper, with tensors that no layer reads.
    case("gemma4", "v4", wrapper(HUB_E), 26, rules=RULES, gain=GAIN, ignored=IGNORED,
         same_as=wrapper(HUB_E) | dict(text_config={k: v for k, v in HUB_E.items() if k != "global_head_dim"} | dict(
             per_layer_config={1: dict(head_dim=24), 4: dict(head_dim=24)})),
         extra=unshared(HUB_E) | AUDIO, drops=drops("text_config.", per_layer=True)),
    # Nearly everything by default: no layer_types (and more layers than their period), no rope parameters; the number
    # of global key/value heads does not count without attention_k_eq_v.
    case("gemma4_text_v4style", "v4",
         {k: v for k, v in HUB.items() if k not in ("layer_types", "rope_parameters", "final_logit_softcapping")} | dict(
             architectures=["Gemma4ForCausalLM"], num_hidden_layers=8, num_global_key_value_heads=4, vocab_size=131,
             hidden_size=48, tie_word_embeddings=True, transformers_version="5.5.0.dev0"), 21,
         same_as=DENSE | dict(
             attention_k_eq_v=False, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=2,
             num_global_key_value_heads=None, vocab_size=131, hidden_size=48, layer_types=[S, S, S, S, S, F, S, F]),
         rules=RULES, gain=GAIN, drops=drops()),
]

DENSE_CASES = [
    # 31B: keys are values and other head counts in full layers, nothing per layer.
    case("gemma4_dense", "v5", DENSE, 27, rules=RULES, gain=GAIN, drops=drops()),
    case("gemma4_moe", "v4", wrapper(HUB_MOE), 24, rules=RULES, gain=GAIN, ignored=IGNORED,
         same_as=wrapper(HUB_MOE) | dict(
             text_config={k: v for k, v in HUB_MOE.items() if not k.startswith(("global", "num_global"))} | dict(
                 per_layer_config={layer: dict(head_dim=24, num_key_value_heads=1) for layer in (2, 4)})),
         drops=drops("text_config.", experts=True)),
    case("gemma4_moe_text", "v5",
         DENSE | dict(num_hidden_layers=3, layer_types=[S, F, F], enable_moe_block=True, moe_intermediate_size=14,
                      num_experts=7, top_k_experts=3), 25,
         rules=RULES, gain=GAIN, drops=drops(experts=True)),
]

UNIFIED_VISION = dict(model_type="gemma4_unified_vision", patch_size=2, pooling_kernel_size=2, mm_embed_dim=16,
                      mm_posemb_size=6, output_proj_dims=16)

UNIFIED_CASES = [
    # 12B: no tower, a few tensors that embed patches; text alone the same as the dense kind.
    case("gemma4_unified", "v4", wrapper(HUB_UNIFIED, "Gemma4Unified", UNIFIED_VISION), 28, rules=RULES, gain=GAIN,
         ignored=IGNORED, drops=drops("text_config."),
         same_as=wrapper(HUB_UNIFIED, "Gemma4Unified", UNIFIED_VISION) | dict(
             text_config={k: v for k, v in HUB_UNIFIED.items() if not k.startswith(("global", "num_global"))} | dict(
                 per_layer_config={layer: dict(head_dim=24, num_key_value_heads=1) for layer in (2, 4)}))),
]

CASES = E_CASES + DENSE_CASES + UNIFIED_CASES
