"""lfm2, lfm2_moe: short convolutions between two gates in most layers, attention in the others.

in_proj gives B, C, x; the convolution, without activation, runs over B * x; its result times C goes to out_proj. Norms on
queries and keys are per head. The last norm is `model.embedding_norm`.
lfm2: with `block_auto_adjust_ff_dim` (true where absent) the network is two thirds of `block_ff_dim` wide, times
`block_ffn_dim_multiplier`, rounded up to `block_multiple_of` (256). `full_attn_idxs` counts where `layer_types` is absent.
lfm2_moe: sigmoid scores; `expert_bias` counts for the choice alone; weights are renormalised with 1e-6 and scaled. The first
`num_dense_layers` have a plain network, of `intermediate_size`.
"""

import torch

from .common import case, zeroed

C, F = "conv", "full_attention"
RULES = [(r"conv\.conv\.weight$", "other", 0.0), (r"(q|k)_layernorm\.weight$|_norm\.weight$", 0.2, 1.0),
         (r"w2\.weight$|self_attn\.out_proj\.weight$|experts\.down_proj$", "out", 0.0),
         (r"gate\.weight$", "router", 0.0), (r"expert_bias$", 0.125, 0.0)]
GAIN = dict(router=2.0)


def no_convolution(model):
    for name, parameter in model.named_parameters():
        if name.endswith("conv.conv.weight"):
            parameter.data[..., :-1] = 0


def rotated_thirds(model):
    """in_proj's parts in the order C, x, B."""
    for name, module in model.named_modules():
        if name.endswith("conv.in_proj"):
            for parameter in module.parameters():
                parameter.data = parameter.data.roll(parameter.shape[0] // 3, 0)


def listed(shapes):
    """Experts as the hub has them: w1 (gate), w3 (up), w2 (down) of each."""
    names = {}
    for name, shape in shapes.items():
        prefix, found, weight = name.partition(".experts.")
        if found and weight in ("gate_up_proj", "down_proj"):
            for expert in range(shape[0]):
                if weight == "down_proj":
                    names[f"{prefix}.experts.{expert}.w2.weight"] = shape[1:]
                else:
                    for part in ("w1", "w3"):
                        names[f"{prefix}.experts.{expert}.{part}.weight"] = [shape[1] // 2, shape[2]]
        else:
            names[name] = shape
    return names


def no_expert_bias(model):
    for name, buffer in model.named_buffers():
        if name.endswith("expert_bias"):
            buffer.zero_()


def biased_weights(model):
    def forward(self, hidden, expert_bias=None):
        logits = torch.nn.functional.linear(hidden, self.weight)
        weights, chosen = torch.topk(logits.sigmoid() + expert_bias, self.top_k, dim=-1)
        return logits, weights / (weights.sum(-1, keepdim=True) + 1e-6) * self.routed_scaling_factor, chosen
    for module in model.modules():
        if type(module).__name__ == "Lfm2MoeTopKRouter":
            module.forward = forward.__get__(module)


DROPS = {"the convolution": no_convolution, "the parts in their order": rotated_thirds}
MOE_DROPS = DROPS | {"expert_bias": no_expert_bias, "weights without the bias": biased_weights,
                     "renormalised weights": {"norm_topk_prob": False},
                     "routed_scaling_factor": {"routed_scaling_factor": 1.0}}

LFM2_CASES = [
    case("lfm2", "v5",
         dict(model_type="lfm2", vocab_size=203, hidden_size=60, intermediate_size=90, num_hidden_layers=4,
              num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512, norm_eps=1e-5,
              conv_bias=True, conv_L_cache=4, block_multiple_of=16, block_ffn_dim_multiplier=1.25,
              layer_types=[C, F, C, C], tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 23,
         rules=RULES, drops=DROPS | {"biases": zeroed("conv.bias")}),
    # LFM2-1.2B's config.json, scaled down; a prompt shorter than the kernel.
    case("lfm2_v4style", "v4",
         dict(architectures=["Lfm2ForCausalLM"], block_auto_adjust_ff_dim=False, block_dim=48, block_ff_dim=72,
              block_ffn_dim_multiplier=1.0, block_mlp_init_scale=1.0, block_multiple_of=256, block_norm_eps=1e-5,
              block_out_init_scale=1.0, block_use_swiglu=True, block_use_xavier_init=True, bos_token_id=1,
              conv_L_cache=3, conv_bias=False, conv_dim=48, conv_dim_out=48, conv_use_xavier_init=True,
              eos_token_id=2, full_attn_idxs=[1, 2], hidden_size=48, initializer_range=0.02,
              max_position_embeddings=512, model_type="lfm2", norm_eps=1e-5, num_attention_heads=4, num_heads=4,
              num_hidden_layers=4, num_key_value_heads=1, pad_token_id=0, rope_theta=1000000.0,
              torch_dtype="float32", transformers_version="4.54.0.dev0", use_cache=True, use_pos_enc=True,
              vocab_size=131), 2,
         same_as=dict(model_type="lfm2", vocab_size=131, hidden_size=48, intermediate_size=72, num_hidden_layers=4,
                      num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=512, norm_eps=1e-5,
                      block_auto_adjust_ff_dim=False, layer_types=[C, F, F, C], tie_word_embeddings=True,
                      rope_parameters=dict(rope_theta=1e6, rope_type="default")),
         rules=RULES, gain=dict(out=2.5, embed=0.5), drops=DROPS),
]

LFM2_MOE = dict(
    vocab_size=203, hidden_size=48, intermediate_size=72, moe_intermediate_size=22, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, norm_eps=1e-5, conv_L_cache=3,
    num_dense_layers=1, num_experts=6, num_experts_per_tok=2, routed_scaling_factor=1.5, norm_topk_prob=True,
    use_expert_bias=True, layer_types=[C, F, C, F], bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
LFM2_MOE_CASES = [
    # LFM2-8B-A1B's config.json, scaled down; tied by default.
    case("lfm2_moe", "v4",
         LFM2_MOE | dict(architectures=["Lfm2MoeForCausalLM"], conv_bias=False, initializer_range=0.02,
                         model_type="lfm2_moe", rope_theta=1000000.0, torch_dtype="float32",
                         transformers_version="4.57.0.dev0", use_cache=True), 24,
         same_as=LFM2_MOE | dict(model_type="lfm2_moe", tie_word_embeddings=True,
                                 rope_parameters=dict(rope_theta=1e6, rope_type="default")),
         rules=RULES, gain=GAIN | dict(out=2.5, embed=0.5), layout=listed, drops=MOE_DROPS),
    case("lfm2_moe_unbiased", "v5",
         LFM2_MOE | dict(model_type="lfm2_moe", vocab_size=131, use_expert_bias=False, norm_topk_prob=False,
                         num_dense_layers=0, layer_types=[F, C, C], num_hidden_layers=3, tie_word_embeddings=False,
                         rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 22,
         rules=RULES, gain=GAIN, layout=listed,
         drops=DROPS | {"weights as they are": {"norm_topk_prob": True}}),
]

CASES = LFM2_CASES + LFM2_MOE_CASES
