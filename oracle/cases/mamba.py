"""mamba2, and falcon_h1: the same scan beside attention, under one norm, with a multiplier nearly everywhere.

One step of a head with state S [head_dim, state]: dt = softplus(dt + dt_bias), S <- exp(-exp(A_log) dt) S + dt x B^T,
y = S C + D x; heads share B and C by groups of neighbours. Rows of in_proj: gate, x, B, C, dt. The convolution runs over
[x, B, C], with bias, then silu. The norm is of y * silu(gate), over each group.

transformers clamps dt to time_step_limit in prompts only, not token by token: no case has a limit that would bite.
mamba2: `norm_before_gate`, `rms_norm`, `intermediate_size` and `time_step_*` of hub files are not read.
falcon_h1: `mamba_norm_before_gate` is true where it is absent, and counts only with `mamba_rms_norm`; without that there is
no norm. The five ssm_multipliers belong to gate, x, B, C, dt; mlp_multipliers to the gate before silu, and the output.
"""

import torch

from .common import case, zeroed

RULES = [
    (r"norm(_f)?\.weight$", 0.2, 1.0),
    (r"A_log$", 0.75, -1.0),
    (r"(mixer|mamba)\.D$", 0.5, 1.0),
    (r"dt_bias$", 0.5, -1.0),
    (r"embeddings\.weight$", 1.0, 0.0),
    (r"in_proj\.weight$", "in", 0.0),
]
GAIN = {"in": 1.5}


def no_convolution(model):
    for name, parameter in model.named_parameters():
        if name.endswith("conv1d.weight"):
            parameter.data[..., :-1] = 0


def no_decay(model):
    for name, parameter in model.named_parameters():
        if name.endswith("A_log"):
            parameter.data.fill_(-100.0)


def mixers(model):
    return [module for module in model.modules() if hasattr(module, "ssm_state_size")]


def groups_in_turn(model):
    """Head h takes the B and C of group h mod g: done by moving everything that belongs to a head."""
    for module in mixers(model):
        groups, heads, width = module.n_groups, module.num_heads, module.head_dim
        order = torch.arange(heads).reshape(heads // groups, groups).t().reshape(-1)
        rows = (order[:, None] * width + torch.arange(width)).reshape(-1)
        inner = module.intermediate_size
        weight, convolution = module.in_proj.weight.data, module.conv1d
        for part in (weight[:inner], weight[inner:2 * inner], convolution.weight.data[:inner],
                     convolution.bias.data[:inner]):
            part.copy_(part[rows].clone())
        for part in (weight[-heads:], module.A_log.data, module.D.data, module.dt_bias.data):
            part.copy_(part[order].clone())
        if hasattr(module.norm, "weight"):
            module.norm.weight.data = module.norm.weight.data[rows].clone()
        module.out_proj.weight.data = module.out_proj.weight.data[:, rows].clone()


def norm_over_all(model):
    for module in mixers(model):
        if hasattr(module.norm, "group_size"):
            module.norm.group_size *= module.n_groups
        else:
            module.norm.n_groups = 1


DROPS = {
    "the convolution": no_convolution,
    "the convolution's bias": zeroed("conv1d.bias"),
    "the decay": no_decay,
    "D": zeroed(".D"),
    "dt_bias": zeroed("dt_bias"),
}
GROUPS = {"groups of neighbouring heads": groups_in_turn}
GROUP_NORM = {"a norm for each group": norm_over_all}

MAMBA2 = dict(
    model_type="mamba2", vocab_size=203, hidden_size=48, num_hidden_layers=3, num_heads=6, head_dim=16, expand=2,
    state_size=14, conv_kernel=4, n_groups=2, layer_norm_epsilon=1e-5, chunk_size=16, bos_token_id=0, eos_token_id=0,
    pad_token_id=0,
)

MAMBA2_CASES = [
    # Mamba-Codestral's config.json, scaled down. The prompt is more than one chunk.
    case("mamba2", "v4",
         MAMBA2 | dict(
             architectures=["Mamba2ForCausalLM"], hidden_act="silu", initializer_range=0.1, intermediate_size=96,
             norm_before_gate=True, rescale_prenorm_residual=False, residual_in_fp32=True, rms_norm=True,
             tie_word_embeddings=False, time_step_floor=0.0001, time_step_init_scheme="random",
             time_step_limit=[0.0, float("inf")], time_step_max=0.1, time_step_min=0.001, time_step_rank=3,
             time_step_scale=1.0, torch_dtype="float32", transformers_version="4.44.0.dev0", use_bias=False,
             use_cache=True, use_conv_bias=True), 70,
         same_as=MAMBA2 | dict(time_step_limit=[0.0, float("inf")]),
         rules=RULES, gain=GAIN, drops=DROPS | GROUPS | GROUP_NORM),
    # A prompt shorter than the kernel, biases of projections, none of the convolution, one group, a tied head.
    case("mamba2_tied", "v5",
         MAMBA2 | dict(vocab_size=131, hidden_size=40, num_heads=5, head_dim=16, n_groups=1, conv_kernel=5,
                       use_bias=True, use_conv_bias=False, tie_word_embeddings=True, eos_token_id=2), 3,
         rules=[(r"embeddings\.weight$", 0.5, 0.0)] + RULES, gain=GAIN | dict(out=2.5),
         drops={key: DROPS[key] for key in ("the convolution", "the decay", "D", "dt_bias")} | {
             "biases of projections": zeroed("proj.bias")}),
]

MULTIPLIERS = dict(
    attention_in_multiplier=1.25, attention_out_multiplier=0.75, embedding_multiplier=1.5, key_multiplier=0.625,
    lm_head_multiplier=0.5, mlp_multipliers=[1.5, 0.75], ssm_in_multiplier=1.25,
    ssm_multipliers=[0.75, 1.25, 1.5, 0.625, 1.125], ssm_out_multiplier=0.875)

H1 = dict(
    model_type="falcon_h1", vocab_size=203, hidden_size=56, intermediate_size=72, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=18, max_position_embeddings=512, rms_norm_eps=1e-5,
    mamba_d_ssm=72, mamba_n_heads=6, mamba_d_head=12, mamba_n_groups=1, mamba_d_state=14, mamba_d_conv=4,
    mamba_expand=2, mamba_chunk_size=16, mamba_conv_bias=True, mamba_norm_before_gate=False, bos_token_id=1,
    eos_token_id=2, pad_token_id=0,
)


def multiplier_drops():
    ones = {key: [1.0] * len(value) if isinstance(value, list) else 1.0 for key, value in MULTIPLIERS.items()}
    return {key: {key: one} for key, one in ones.items()}


H1_CASES = [
    # Falcon-H1-0.5B's config.json, scaled down: no norm behind the scan.
    case("falcon_h1", "v4",
         H1 | MULTIPLIERS | dict(
             architectures=["FalconH1ForCausalLM"], attention_bias=False, attention_dropout=0.0, hidden_act="silu",
             initializer_range=0.02, mamba_proj_bias=False, mamba_rms_norm=False, mamba_use_mlp=True,
             mlp_bias=False, mlp_expansion_factor=8, num_logits_to_keep=1, projectors_bias=False,
             rope_scaling=None, rope_theta=100000000000.0, tie_word_embeddings=False, torch_dtype="float32",
             transformers_version="4.52.0.dev0", use_cache=True), 70,
         same_as=H1 | MULTIPLIERS | dict(rope_parameters=dict(rope_theta=1e11, rope_type="default")),
         rules=RULES, gain=GAIN | dict(head=5.0), drops=DROPS | multiplier_drops()),
    # The norm, over each of two groups, behind the gate; biases everywhere.
    case("falcon_h1_norm", "v5",
         H1 | MULTIPLIERS | dict(
             mamba_rms_norm=True, mamba_n_groups=2, attention_bias=True, mlp_bias=True, mamba_proj_bias=True,
             projectors_bias=True, rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 25,
         rules=RULES, gain=GAIN | dict(head=5.0),
         drops=DROPS | GROUPS | GROUP_NORM | multiplier_drops() | {
             "the gate before the norm": {"mamba_norm_before_gate": True},
             "biases of projections": zeroed("proj.bias")}),
    # The norm before the gate, as it is by default; the inner width from the expansion; a tied head.
    case("falcon_h1_norm_first", "v5",
         {k: v for k, v in H1.items() if k not in ("mamba_norm_before_gate", "mamba_d_head")} | dict(
             vocab_size=131, mamba_rms_norm=True, mamba_d_ssm=None, mamba_n_heads=8, mamba_n_groups=4,
             mamba_conv_bias=False, tie_word_embeddings=True,
             rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 22,
         rules=RULES, gain=GAIN | dict(out=2.5, embed=0.5),
         drops={"the norm before the gate": {"mamba_norm_before_gate": False}} | GROUP_NORM),
]

CASES = MAMBA2_CASES + H1_CASES
