"""qwen3_5 and qwen3_5_moe: gated delta nets, every few layers attention with an output gate, norms of 1 + weight.

`full_attention_interval` counts only where `layer_types` is absent. The rotated part of a head is
`partial_rotary_factor`, in the rope parameters or at the top level, 0.25 where it is in neither place. The sections of
the multimodal rotation do not matter for text. Not read: `mlp_only_layers`, `attn_output_gate`, `mamba_ssm_dtype` and
`mtp_*` of hub files. AutoModelForCausalLM opens the wrapper as the text model alone.
"""

import torch

from .common import assigned, case, per_expert, renamed, replaced, stacked, zeroed

# The decay spreads from heads that forget at once to heads that remember the whole prompt.
RULES = [(r"linear_attn\.norm\.weight$", 0.2, 1.0), (r"A_log$", 0.75, -1.0), (r"dt_bias$", 0.5, 0.0)]


def value_heads_reordered(model):
    """Value head h takes key head h mod k, as if key heads were tiled, in place of h div (v / k)."""
    for module in model.modules():
        if type(module).__name__.endswith("GatedDeltaNet"):
            keys, values, width = module.num_k_heads, module.num_v_heads, module.head_v_dim
            heads = torch.arange(values).reshape(values // keys, keys).t().reshape(-1)
            rows = (heads[:, None] * width + torch.arange(width)).reshape(-1)
            start = 2 * module.key_dim
            for weight in (module.in_proj_qkv.weight.data[start:], module.conv1d.weight.data[start:],
                           module.in_proj_z.weight.data):
                weight.copy_(weight[rows].clone())
            for weight in (module.in_proj_a.weight.data, module.in_proj_b.weight.data, module.A_log.data,
                           module.dt_bias.data):
                weight.copy_(weight[heads].clone())
            module.out_proj.weight.data = module.out_proj.weight.data[:, rows].clone()


def no_convolution(model):
    for name, parameter in model.named_parameters():
        if name.endswith("conv1d.weight"):
            parameter.data[..., :-1] = 0


def no_decay(model):
    for name, parameter in model.named_parameters():
        if name.endswith("A_log"):
            parameter.data.fill_(-100.0)


def gates(model):
    for module in model.modules():
        if type(module).__name__.endswith("Attention"):
            yield module, module.q_proj.weight.data.view(-1, 2, module.head_dim, module.q_proj.in_features)


def no_output_gate(model):
    for module, weight in gates(model):
        weight[:, 1] = 0
        if module.q_proj.bias is not None:
            module.q_proj.bias.data.view(-1, 2, module.head_dim)[:, 1] = 0
        module.o_proj.weight.data *= 2


def gates_after_queries(model):
    """Reads the rows as all queries, then all gates."""
    for module, weight in gates(model):
        heads = weight.shape[0]
        weight.copy_(weight.reshape(2, heads, *weight.shape[2:]).transpose(0, 1).clone())


def plain_norms(model):
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.weight.data -= 1


def gated_norm_one_plus(model):
    for module in model.modules():
        if type(module).__name__.endswith("RMSNormGated"):
            module.weight.data += 1


DROPS = {
    "the convolution": no_convolution,
    "the decay": no_decay,
    "beta (a half instead)": zeroed("in_proj_b"),
    "the output gate of attention": no_output_gate,
    "gates beside their heads' queries": gates_after_queries,
    "norms of 1 + weight": plain_norms,
    "the gated norm's plain weight": gated_norm_one_plus,
}
GROUPED = {"key heads interleaved": value_heads_reordered}

TEXT = dict(
    model_type="qwen3_5_text", vocab_size=203, hidden_size=56, intermediate_size=88, num_hidden_layers=5,
    num_attention_heads=3, num_key_value_heads=1, head_dim=24, max_position_embeddings=512, rms_norm_eps=1e-6,
    linear_conv_kernel_dim=4, linear_key_head_dim=12, linear_num_key_heads=2, linear_num_value_heads=6,
    linear_value_head_dim=10, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)

# Qwen3.5's config.json, scaled down.
HUB_TEXT = dict(
    attention_bias=False, attention_dropout=0.0, attn_output_gate=True, dtype="float32", eos_token_id=2,
    full_attention_interval=4, head_dim=24, hidden_act="silu", hidden_size=56, initializer_range=0.02,
    intermediate_size=88,
    layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    linear_conv_kernel_dim=4, linear_key_head_dim=12, linear_num_key_heads=2, linear_num_value_heads=6,
    linear_value_head_dim=10, max_position_embeddings=512, mlp_only_layers=[], model_type="qwen3_5_text",
    mtp_num_hidden_layers=1, mtp_use_dedicated_embeddings=False, num_attention_heads=3, num_hidden_layers=4,
    num_key_value_heads=1, rms_norm_eps=1e-6, tie_word_embeddings=True, use_cache=True, vocab_size=203,
    mamba_ssm_dtype="float32",
    rope_parameters=dict(mrope_interleaved=True, mrope_section=[11, 11, 10], rope_type="default",
                         rope_theta=10000000, partial_rotary_factor=0.25),
)

VISION = dict(
    deepstack_visual_indexes=[], depth=1, hidden_act="gelu_pytorch_tanh", hidden_size=16, in_channels=3,
    initializer_range=0.02, intermediate_size=24, model_type="qwen3_5", num_heads=2, num_position_embeddings=16,
    out_hidden_size=56, patch_size=4, spatial_merge_size=2, temporal_patch_size=2,
)


def wrapper(kind, text):
    return dict(
        architectures=[f"{kind}ForConditionalGeneration"], image_token_id=199, model_type=text["model_type"][:-5],
        text_config=text, tie_word_embeddings=text["tie_word_embeddings"], transformers_version="4.57.0.dev0",
        video_token_id=200, vision_config=VISION | dict(model_type=text["model_type"][:-5]),
        vision_end_token_id=202, vision_start_token_id=201,
    )


def ignored_tensors(text):
    """A vision tower, and a layer that guesses the token after the next."""
    hidden, width = text["hidden_size"], VISION["hidden_size"]
    names = {
        "model.visual.patch_embed.proj.weight": [width, 3, 2, 4, 4], "model.visual.patch_embed.proj.bias": [width],
        "model.visual.pos_embed.weight": [16, width], "model.visual.blocks.0.norm1.weight": [width],
        "model.visual.blocks.0.attn.qkv.weight": [3 * width, width], "model.visual.blocks.0.attn.qkv.bias": [3 * width],
        "model.visual.merger.norm.weight": [width], "model.visual.merger.linear_fc2.weight": [hidden, 4 * width],
        "mtp.fc.weight": [hidden, 2 * hidden], "mtp.norm.weight": [hidden],
        "mtp.pre_fc_norm_embedding.weight": [hidden], "mtp.pre_fc_norm_hidden.weight": [hidden],
        "mtp.layers.0.input_layernorm.weight": [hidden],
        "mtp.layers.0.self_attn.q_proj.weight": [2 * text["num_attention_heads"] * text["head_dim"], hidden],
        "mtp.layers.0.self_attn.k_proj.weight": [text["num_key_value_heads"] * text["head_dim"], hidden],
    }
    if "num_experts" in text:
        stack = [text["num_experts"], 2 * text["moe_intermediate_size"], hidden]
        names |= {"mtp.layers.0.mlp.gate.weight": [text["num_experts"], hidden],
                  "mtp.layers.0.mlp.experts.gate_up_proj": stack}
    return names


IN_WRAPPER = renamed(("model.", "model.language_model."), ("language_model.language_model.", "language_model."))

DENSE_CASES = [
    # More than one chunk of 64, and not at its border.
    case(
        "qwen3_5_text", "v5",
        TEXT | dict(
            layer_types=["linear_attention", "linear_attention", "full_attention", "linear_attention",
                         "full_attention"],
            rope_parameters=dict(rope_theta=1e5, rope_type="default", partial_rotary_factor=0.5)), 75,
        rules=RULES,
        drops=DROPS | GROUPED | {"partial rotation (half of each head)": {"rope_parameters.partial_rotary_factor": 1.0},
                                 "silu after the convolution": assigned("Qwen3_5GatedDeltaNet", activation=None)},
    ),
    # Everything in its oldest place: no layer_types, no rope parameters, a quarter rotated by default. The prompt is
    # shorter than the convolution. As many key heads as value heads, biases, and a head of its own.
    case(
        "qwen3_5_text_v4style", "v4",
        dict(architectures=["Qwen3_5ForCausalLM"], attention_bias=True, attention_dropout=0.0, bos_token_id=1,
             eos_token_id=[2, 3], full_attention_interval=3, head_dim=16, hidden_act="silu", hidden_size=48,
             initializer_range=0.02, intermediate_size=72, linear_conv_kernel_dim=4, linear_key_head_dim=14,
             linear_num_key_heads=3, linear_num_value_heads=3, linear_value_head_dim=18, max_position_embeddings=512,
             model_type="qwen3_5_text", num_attention_heads=4, num_hidden_layers=4, num_key_value_heads=2,
             rms_norm_eps=1e-5, rope_scaling=None, rope_theta=10000.0, tie_word_embeddings=False,
             torch_dtype="float32", transformers_version="4.57.0", use_cache=True, vocab_size=131), 2,
        same_as=dict(model_type="qwen3_5_text", vocab_size=131, hidden_size=48, intermediate_size=72,
                     num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                     max_position_embeddings=512, rms_norm_eps=1e-5, attention_bias=True, linear_conv_kernel_dim=4,
                     linear_key_head_dim=14, linear_num_key_heads=3, linear_num_value_heads=3,
                     linear_value_head_dim=18,
                     layer_types=["linear_attention", "linear_attention", "full_attention", "linear_attention"],
                     rope_parameters=dict(rope_theta=10000.0, rope_type="default", partial_rotary_factor=0.25)),
        rules=RULES,
        drops=DROPS | {"partial rotation (a quarter of each head)": {"rope_parameters.partial_rotary_factor": 1.0},
                       "biases": {"attention_bias": False}},
    ),
    # The hub's spelling: the text model inside a wrapper, tied, beside a vision tower and an MTP layer.
    case(
        "qwen3_5", "v4", wrapper("Qwen3_5", HUB_TEXT), 70,
        same_as={k: v for k, v in HUB_TEXT.items() if k not in ("dtype", "full_attention_interval")},
        rules=RULES, gain=dict(out=2.5, embed=0.5),
        layout=IN_WRAPPER,
        extra=ignored_tensors(HUB_TEXT), drops=DROPS | GROUPED,
    ),
]


def open_shared_gate(model):
    """The shared expert's output is added whole: a gate of a half, twice the output."""
    for module in model.modules():
        if hasattr(module, "shared_expert_gate"):
            module.shared_expert_gate.weight.data.zero_()
            module.shared_expert.down_proj.weight.data *= 2


def plain_router(self, hidden):
    """The softmax over all experts, not renormalised over the chosen ones."""
    logits = torch.nn.functional.linear(hidden.reshape(-1, self.hidden_dim), self.weight)
    weights, chosen = torch.topk(logits.softmax(-1), self.top_k, dim=-1)
    return logits, weights, chosen


MOE_RULES = RULES + [(r"experts\.gate_up_proj$", "other", 0.0), (r"experts\.down_proj$", "out", 0.0),
                     (r"mlp\.gate\.weight$", "router", 0.0), (r"shared_expert_gate\.weight$", "router", 0.0)]
MOE_DROPS = DROPS | GROUPED | {
    "the shared expert": zeroed("shared_expert.down_proj"),
    "the shared expert's gate": open_shared_gate,
    "renormalised weights of experts": replaced("Qwen3_5MoeTopKRouter", forward=plain_router),
}
MOE_GAIN = dict(router=2.0)

MOE_SIZES = dict(moe_intermediate_size=20, num_experts=6, num_experts_per_tok=3, shared_expert_intermediate_size=28)
MOE_TEXT = {k: v for k, v in TEXT.items() if k != "intermediate_size"} | MOE_SIZES | dict(
    model_type="qwen3_5_moe_text")
HUB_MOE_TEXT = {k: v for k, v in HUB_TEXT.items() if k not in ("intermediate_size", "mlp_only_layers")} | MOE_SIZES | dict(
    model_type="qwen3_5_moe_text", output_router_logits=False, router_aux_loss_coef=0.001, tie_word_embeddings=False)

EXPERT_CASES = [
    # A list of experts.
    case(
        "qwen3_5_moe_text", "v5",
        MOE_TEXT | dict(num_hidden_layers=4,
                        layer_types=["linear_attention", "full_attention", "linear_attention", "linear_attention"],
                        rope_parameters=dict(rope_theta=1e6, rope_type="default", partial_rotary_factor=0.25)), 67,
        rules=MOE_RULES, gain=MOE_GAIN, layout=lambda shapes: per_expert(stacked(shapes)), drops=MOE_DROPS,
    ),
    # The hub's spelling: all experts of a layer in one tensor, a head of its own at the top level.
    case(
        "qwen3_5_moe", "v4", wrapper("Qwen3_5Moe", HUB_MOE_TEXT), 70,
        same_as={k: v for k, v in HUB_MOE_TEXT.items() if k not in ("dtype", "full_attention_interval")},
        rules=MOE_RULES, gain=MOE_GAIN,
        layout=lambda shapes: stacked(IN_WRAPPER(shapes)),
        extra=ignored_tensors(HUB_MOE_TEXT), drops=MOE_DROPS,
    ),
]

CASES = DENSE_CASES + EXPERT_CASES
