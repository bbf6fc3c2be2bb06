"""Models of text and images whose text is a family that is there already: read as text alone.

qwen2_vl, qwen2_5_vl: the hub's config.json is flat, its tensors `model.` beside `visual.`; the text is qwen2, and
rope type "mrope" is plain for text. qwen3_vl: `text_config`, `model.language_model.` beside `model.visual.`; the text is
qwen3. qwen3_vl_moe: the text is qwen3_moe, its experts one tensor each: on the hub gate_up_proj [E, D, 2F] and
down_proj [E, F, D], as transformers 5 saves them [E, 2F, D] and [E, D, F]; only the shapes tell. Weights are always
renormalised. kimi_k25: `language_model.model.`, `language_model.lm_head.`; the text is deepseek_v3. gemma3: `text_config`,
`language_model.model.`; transformers-4 keys of gemma3_text hold inside.
"""

from . import latent
from .common import case, renamed, replaced
from .experts import plain_router
from .gemma import GEMMA_GAIN

IMAGES = dict(auto="AutoModelForImageTextToText", ignored=r"visual|vision_tower|multi_modal_projector")

QWEN_FLAT = dict(
    attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu", hidden_size=48,
    image_token_id=200, initializer_range=0.02, intermediate_size=72, max_position_embeddings=512, max_window_layers=3,
    num_attention_heads=4, num_hidden_layers=3, num_key_value_heads=1, rms_norm_eps=1e-6,
    rope_scaling=dict(mrope_section=[2, 2, 2], type="mrope"), rope_theta=1000000.0, sliding_window=32768,
    tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.41.2", use_cache=True,
    use_sliding_window=False, video_token_id=201, vision_end_token_id=199, vision_start_token_id=198, vocab_size=203)
QWEN2_VISION = dict(depth=1, embed_dim=16, hidden_size=48, in_chans=3, mlp_ratio=2, num_heads=2, patch_size=4,
                    spatial_merge_size=2, spatial_patch_size=4, temporal_patch_size=2)
QWEN2_5_VISION = dict(depth=1, fullatt_block_indexes=[0], hidden_act="silu", hidden_size=16, in_chans=3,
                      intermediate_size=24, num_heads=2, out_hidden_size=48, patch_size=4, spatial_merge_size=2,
                      spatial_patch_size=4, temporal_patch_size=2, tokens_per_second=2, window_size=16)
QWEN_TEXT = dict(
    hidden_size=48, intermediate_size=72, max_position_embeddings=512, num_attention_heads=4, num_hidden_layers=3,
    num_key_value_heads=1, rms_norm_eps=1e-6, vocab_size=203, bos_token_id=1, eos_token_id=2,
    rope_parameters=dict(rope_theta=1e6, rope_type="default", mrope_section=[2, 2, 2]))

QWEN3_VL_TEXT = dict(
    attention_bias=False, attention_dropout=0.0, bos_token_id=1, dtype="float32", eos_token_id=2, head_dim=16,
    hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72, max_position_embeddings=512,
    model_type="qwen3_vl_text", num_attention_heads=6, num_hidden_layers=3, num_key_value_heads=2, rms_norm_eps=1e-6,
    rope_scaling=dict(mrope_interleaved=True, mrope_section=[4, 2, 2], rope_type="default"), rope_theta=5000000,
    tie_word_embeddings=True, use_cache=True, vocab_size=203)
QWEN3_VL = dict(
    architectures=["Qwen3VLForConditionalGeneration"], image_token_id=200, model_type="qwen3_vl",
    text_config=QWEN3_VL_TEXT, tie_word_embeddings=True, transformers_version="4.57.0.dev0", video_token_id=201,
    vision_config=dict(deepstack_visual_indexes=[0], depth=1, hidden_act="gelu_pytorch_tanh", hidden_size=16,
                       in_channels=3, initializer_range=0.02, intermediate_size=24, model_type="qwen3_vl", num_heads=2,
                       num_position_embeddings=16, out_hidden_size=48, patch_size=4, spatial_merge_size=2,
                       temporal_patch_size=2),
    vision_end_token_id=199, vision_start_token_id=198)

QWEN3_VL_MOE = QWEN3_VL | dict(
    architectures=["Qwen3VLMoeForConditionalGeneration"], model_type="qwen3_vl_moe", tie_word_embeddings=False,
    text_config={k: v for k, v in QWEN3_VL_TEXT.items() if k != "tie_word_embeddings"} | dict(
        model_type="qwen3_vl_moe_text", decoder_sparse_step=1, mlp_only_layers=[1], moe_intermediate_size=20,
        norm_topk_prob=True, num_experts=6, num_experts_per_tok=2, router_aux_loss_coef=0.001),
    vision_config=QWEN3_VL["vision_config"] | dict(model_type="qwen3_vl_moe"))


def transposed(shapes):
    return {name: [shape[0], shape[2], shape[1]] if name.endswith(("experts.gate_up_proj", "experts.down_proj")) else shape
            for name, shape in shapes.items()}


def qwen3_vl_moe(name, layout, rules):
    return case(name, "v4", QWEN3_VL_MOE, 23, **IMAGES, layout=layout,
                rules=[(r"mlp\.gate\.weight$", "router", 0.0)] + rules, gain=dict(router=2.0),
                drops={"renormalised weights": replaced("Qwen3VLMoeTextTopKRouter", forward=plain_router)})


# Kimi-K2.5's config.json, scaled down; transformers opens the wrapper, the reference its text alone.
KIMI_TEXT = {k: v for k, v in latent.KIMI.items() if k not in ("torch_dtype", "transformers_version")}
KIMI_K25 = dict(
    architectures=["KimiK25ForConditionalGeneration"], bos_token_id=0, dtype="float32", eos_token_id=1, ignore_index=-100,
    media_placeholder_token_id=200, model_type="kimi_k25", pad_token_id=0, text_config=KIMI_TEXT,
    tie_word_embeddings=False, transformers_version="4.56.2",
    vision_config=dict(mm_hidden_size=16, model_type="kimi_k25_vision", text_hidden_size=56, vt_hidden_size=16,
                       vt_num_attention_heads=2, vt_num_hidden_layers=1))
KIMI_IGNORED = {
    "vision_tower.patch_embed.proj.weight": [16, 3, 4, 4], "vision_tower.encoder.blocks.0.wqkv.weight": [48, 16],
    "vision_tower.encoder.blocks.0.norm0.weight": [16], "mm_projector.pre_norm.weight": [16],
    "mm_projector.proj.0.weight": [32, 32], "mm_projector.proj.2.weight": [56, 32],
}


def kimi_text(arrays):
    return {name.removeprefix("language_model."): array for name, array in arrays.items()
            if name.startswith("language_model.")}


GEMMA3_TEXT = dict(
    head_dim=18, hidden_size=64, intermediate_size=88, model_type="gemma3_text", num_attention_heads=4,
    num_hidden_layers=6, num_key_value_heads=2, query_pre_attn_scalar=21,
    rope_scaling=dict(factor=8.0, rope_type="linear"), sliding_window=8, sliding_window_pattern=3, vocab_size=203)
GEMMA3 = dict(
    architectures=["Gemma3ForConditionalGeneration"], boi_token_index=198, eoi_token_index=199, eos_token_id=[1, 106],
    image_token_index=200, initializer_range=0.02, mm_tokens_per_image=4, model_type="gemma3",
    text_config=GEMMA3_TEXT, torch_dtype="float32", transformers_version="4.50.0.dev0",
    vision_config=dict(hidden_size=16, image_size=16, intermediate_size=24, model_type="siglip_vision_model",
                       num_attention_heads=2, num_hidden_layers=1, patch_size=4, vision_use_head=False))
GEMMA3_NAMES = renamed(("model.language_model.", "language_model.model."),
                       ("model.vision_tower.", "vision_tower."), ("vision_tower.", "vision_tower.vision_model."),
                       ("model.multi", "multi"))


def qwen(kind, vision):
    types = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}
    flat = QWEN_FLAT | dict(architectures=[f"{types[kind]}ForConditionalGeneration"], model_type=kind,
                            vision_config=vision | dict(model_type=kind))
    return case(kind, "v4", flat, 22, **IMAGES,
                same_as=dict(model_type=kind, text_config=QWEN_TEXT, vision_config=vision, image_token_id=200,
                             video_token_id=201, vision_start_token_id=198, vision_end_token_id=199),
                drops={"theta 1e6 as 1e4": {"text_config.rope_parameters.rope_theta": 1e4}})


CASES = [
    qwen("qwen2_vl", QWEN2_VISION),
    qwen("qwen2_5_vl", QWEN2_5_VISION),
    case("qwen3_vl", "v4", QWEN3_VL, 22, gain=dict(out=2.5, embed=0.5), **IMAGES,
         same_as=QWEN3_VL | dict(text_config={k: v for k, v in QWEN3_VL_TEXT.items() if not k.startswith("rope")} | dict(
             rope_parameters=dict(rope_theta=5000000, rope_type="default", mrope_section=[4, 2, 2],
                                  mrope_interleaved=True))),
         drops={"theta 5e6 as 1e4": {"text_config.rope_parameters.rope_theta": 1e4}}),
    qwen3_vl_moe("qwen3_vl_moe", transposed, [(r"experts\.gate_up_proj$", 0.1875, 0.0),
                                              (r"experts\.down_proj$", 0.375, 0.0)]),
    qwen3_vl_moe("qwen3_vl_moe_straight", lambda same: same, [(r"experts\.gate_up_proj$", "other", 0.0),
                                                              (r"experts\.down_proj$", "out", 0.0)]),
    case("kimi_k25", "v4", KIMI_K25, 24, rules=latent.RULES + [(r"lm_head", "head", 0.0)],
         gain=latent.GAIN, extra=KIMI_IGNORED,
         reference_config=lambda config: config["text_config"] | dict(model_type="deepseek_v3"), reference=kimi_text,
         layout=lambda shapes: {f"language_model.{name}": shape for name, shape in latent.listed(shapes).items()},
         drops=latent.DROPS | {"weights without the bias": latent.router(biased_weights=True)}),
    # gemma-3-4b-it's config.json, scaled down: much is left to defaults.
    case("gemma3", "v4", GEMMA3, 26, gain=GEMMA_GAIN | dict(final=8.0), layout=GEMMA3_NAMES, **IMAGES,
         drops={"windows": {"text_config.sliding_window": 512},
                "linear factor": {"text_config.rope_parameters.full_attention.factor": 1.0}}),
]
