"""ministral (mistral with windows in some layers), ministral3 (queries that grow with the position), their wrapper mistral3.

A mistral config.json with `layer_types` is ministral. ministral3 multiplies queries, behind the rotation, with
1 + beta ln(1 + floor(position / original)): beta is `llama_4_scaling_beta`, the original length yarn's, both of the
rope parameters. Those are yarn by 16 from 16384, base 1 000 000, where they are absent altogether; ministral3's windows,
if any, are in every layer. mistral3 names its text `language_model.model.` and its head `language_model.lm_head.`, also
where `text_config` is a plain mistral.
"""

from .common import case, renamed

F, S = "full_attention", "sliding_attention"

SIZES = dict(vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, head_dim=14, max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1,
             eos_token_id=2)
YARN = dict(beta_fast=32.0, beta_slow=1.0, factor=16.0, llama_4_scaling_beta=0.5, mscale=1.0, mscale_all_dim=1.0,
            original_max_position_embeddings=16, rope_theta=10000.0)

# Ministral-3's config.json, scaled down.
HUB_TEXT = dict(
    attention_dropout=0.0, head_dim=16, hidden_act="silu", hidden_size=48, initializer_range=0.02,
    intermediate_size=72, max_position_embeddings=512, model_type="ministral3", num_attention_heads=4,
    num_hidden_layers=3, num_key_value_heads=1, rms_norm_eps=1e-5,
    rope_parameters=YARN | dict(rope_type="yarn", type="yarn"), sliding_window=None, use_cache=True, vocab_size=131,
    tie_word_embeddings=True,
)
HUB_MISTRAL = {k: v for k, v in HUB_TEXT.items() if k not in ("rope_parameters", "tie_word_embeddings")} | dict(
    model_type="mistral", rope_theta=1000000000.0)
VISION = dict(attention_dropout=0.0, head_dim=8, hidden_act="silu", hidden_size=16, image_size=16,
              initializer_range=0.02, intermediate_size=24, model_type="pixtral", num_attention_heads=2,
              num_channels=3, num_hidden_layers=1, patch_size=4, rope_theta=10000.0)


def wrapper(text, **more):
    return dict(
        architectures=["Mistral3ForConditionalGeneration"], dtype="float32", image_token_index=10,
        model_type="mistral3", multimodal_projector_bias=False, projector_hidden_act="gelu", spatial_merge_size=2,
        text_config=text, transformers_version="5.0.0.dev0", vision_config=VISION, vision_feature_layer=-1) | more


HUB_NAMES = renamed(("model.language_model.", "language_model.model."), ("model.vision", "vision"),
                    ("model.multi", "multi"))
WRAPPED = dict(auto="AutoModelForImageTextToText", ignored=r"vision_tower|multi_modal_projector")


def tied(model):
    model.lm_head.weight = model.get_input_embeddings().weight


SCALE_DROPS = {
    "the queries' scale": {"rope_parameters.llama_4_scaling_beta": 0.0},
    "yarn": {"rope_parameters.factor": 1.0},
}

CASES = [
    case("ministral", "v5",
         SIZES | dict(model_type="ministral", sliding_window=8, layer_types=[S, F, S], pad_token_id=0,
                      rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
         drops={"windows": {"sliding_window": 512}, "the full layer": {"layer_types": [S, S, S]}}),
    case("mistral_layer_types", "v4",
         dict(architectures=["MistralForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
              head_dim=16, hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72,
              layer_types=[F, S, S, F], max_position_embeddings=512, model_type="mistral", num_attention_heads=4,
              num_hidden_layers=4, num_key_value_heads=1, rms_norm_eps=1e-5, rope_theta=100000000.0,
              sliding_window=6, tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.46.0",
              use_cache=True, vocab_size=131), 21,
         same_as=dict(model_type="ministral", vocab_size=131, hidden_size=48, intermediate_size=72,
                      num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1, head_dim=16,
                      max_position_embeddings=512, rms_norm_eps=1e-5, sliding_window=6, layer_types=[F, S, S, F],
                      rope_parameters=dict(rope_theta=1e8, rope_type="default")),
         drops={"windows": {"sliding_window": 512}, "the full layers": {"layer_types": [S, S, S, S]}}),
    # More than twice the original length before the first new token.
    case("ministral3", "v5",
         SIZES | dict(model_type="ministral3", pad_token_id=0, rope_parameters=YARN | dict(rope_type="yarn")), 41,
         drops=SCALE_DROPS | {"the original length": {"rope_parameters.original_max_position_embeddings": 32}}),
    case("mistral3", "v4", wrapper(HUB_TEXT, tie_word_embeddings=True), 37,
         same_as=wrapper(HUB_TEXT | dict(rope_parameters=YARN | dict(rope_type="yarn")), tie_word_embeddings=True),
         gain=dict(out=2.5, embed=0.5),
         drops={label: {f"text_config.{key}": value for key, value in changes.items()}
                for label, changes in SCALE_DROPS.items()}, layout=HUB_NAMES, **WRAPPED),
    # Mistral-Small-3.1: a plain mistral inside. No key says that its head is not tied: it is there.
    case("mistral3_mistral", "v4", wrapper(HUB_MISTRAL), 22,
         same_as=wrapper({k: v for k, v in HUB_MISTRAL.items() if k != "rope_theta"} | dict(
             rope_parameters=dict(rope_theta=1e9, rope_type="default"))),
         layout=lambda shapes: HUB_NAMES(shapes) | {"language_model.lm_head.weight": [131, 48]},
         rules=[(r"lm_head", "head", 0.0)],
         drops={"theta 1e9 as 1e4": {"text_config.rope_parameters.rope_theta": 1e4}, "the head": tied}, **WRAPPED),
]
