"""gpt_oss: sinks, windows in every other layer, biased experts with a clamped gate, plain or in MXFP4.

The experts' gate and up projections are interleaved: even rows (in MXFP4) or columns (plain, stored [in, out]) are the
gate's. The router takes the top k of its biased logits and the softmax over those alone. `layer_types` absent: even
layers are windowed. `rope_parameters` absent altogether: yarn by 32 from 4096, base 150000, not truncated.
`experts_per_token`, `initial_context_length` and `swiglu_limit` of hub files: only the last is read.
"""

import numpy as np
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from .common import case, zeroed

S, F = "sliding_attention", "full_attention"

RULES = [
    (r"sinks$", 1.0, 0.5),
    (r"_bias$", 0.2, 0.0),
    (r"router\.weight$", 0.25, 0.0),
    (r"gate_up_proj$", 0.25, 0.0),
    (r"down_proj$", 0.25, 0.0),
    (r"_blocks$", 256.0, 0),
    (r"_scales$", 4.0, 120),
]

# The sixteen codes of e2m1: sign, two bits of exponent, one of mantissa.
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)


def dequantised(arrays):
    """`_blocks` [E, rows, groups, 16] and `_scales` [E, rows, groups] -> [E, 32 * groups, rows] for transformers."""
    tensors = {}
    for name, array in arrays.items():
        if name.endswith("_scales"):
            continue
        if not name.endswith("_blocks"):
            tensors[name] = array
            continue
        scales = arrays[name.replace("_blocks", "_scales")]
        experts, rows, groups, _ = array.shape
        values = np.empty((experts, rows, groups, 32), dtype=np.float32)
        # The low nibble is the first of the two.
        values[..., 0::2] = E2M1[array & 15]
        values[..., 1::2] = E2M1[array >> 4]
        values *= np.exp2(scales.astype(np.float32) - 127)[..., None]
        whole = np.ascontiguousarray(values.reshape(experts, rows, 32 * groups).transpose(0, 2, 1))
        theirs = convert_moe_packed_tensors(torch.from_numpy(array), torch.from_numpy(scales), dtype=torch.float32)
        assert np.array_equal(whole, theirs.numpy())
        tensors[name.removesuffix("_blocks")] = whole
    return tensors


def packed(shapes):
    """Stacked [E, in, out] -> blocks of 32 along the input."""
    names = {}
    for name, shape in shapes.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, inputs, rows = shape
            names[f"{name}_blocks"] = [experts, rows, inputs // 32, 16]
            names[f"{name}_scales"] = [experts, rows, inputs // 32]
        else:
            names[name] = shape
    return names


def without_quantization(config):
    return {key: value for key, value in config.items() if key != "quantization_config"}


def experts(model):
    return [module for module in model.modules() if type(module).__name__ == "GptOssExperts"]


def no_sinks(model):
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            parameter.data.fill_(-1e4)


def halves(model):
    """The first half of the rows as the gate, the second as up."""
    for module in experts(model):
        for parameter in (module.gate_up_proj, module.gate_up_proj_bias):
            half = parameter.shape[-1] // 2
            order = torch.arange(2 * half).reshape(2, half).t().reshape(-1)
            parameter.data = parameter.data[..., order].clone()


def high_nibble_first(model):
    for module in experts(model):
        for parameter in (module.gate_up_proj, module.down_proj):
            experts_, inputs, rows = parameter.shape
            parameter.data = parameter.data.view(experts_, inputs // 2, 2, rows).flip(2).reshape(parameter.shape)


def gate(clamp_gate=True, clamp_up=True, one=1.0):
    def body(self, gate_up):
        gate, up = gate_up[..., ::2], gate_up[..., 1::2]
        gate = gate.clamp(max=self.limit) if clamp_gate else gate
        up = up.clamp(-self.limit, self.limit) if clamp_up else up
        return (up + one) * gate * torch.sigmoid(gate * self.alpha)

    def drop(model):
        for module in experts(model):
            module._apply_gate = body.__get__(module)
    return drop


def softmax_over_all(model):
    """Weights from the softmax over all experts."""
    def forward(self, hidden):
        logits = torch.nn.functional.linear(hidden, self.weight, self.bias)
        weights, chosen = torch.topk(logits.softmax(-1), self.top_k, dim=-1)
        return logits, weights, chosen
    for module in model.modules():
        if type(module).__name__ == "GptOssTopKRouter":
            module.forward = forward.__get__(module)


DROPS = {
    "sinks": no_sinks,
    "windows": {"sliding_window": 512},
    "yarn": {"rope_parameters.rope_type": "default"},
    "truncate = false": {"rope_parameters.truncate": True},
    "gate and up interleaved": halves,
    "the gate's clamp": gate(clamp_gate=False),
    "the clamp of up": gate(clamp_up=False),
    "one more than up": gate(one=0.0),
    "1.702": {"swiglu_alpha": 1.0},
    "weights over the chosen": softmax_over_all,
    "the router's bias": zeroed("router.bias"),
    "the experts' biases": zeroed("_bias"),
    "biases of attention": zeroed("proj.bias"),
}

YARN = dict(beta_fast=32.0, beta_slow=1.0, factor=8.0, original_max_position_embeddings=64, rope_type="yarn",
            truncate=False)

# gpt-oss-20b's config.json, scaled down.
HUB = dict(
    architectures=["GptOssForCausalLM"], attention_bias=True, attention_dropout=0.0, eos_token_id=2,
    experts_per_token=2, head_dim=20, hidden_act="silu", hidden_size=96, initial_context_length=64,
    initializer_range=0.02, intermediate_size=64, layer_types=[S, F, S], max_position_embeddings=512,
    model_type="gpt_oss", num_attention_heads=6, num_experts_per_tok=2, num_hidden_layers=3, num_key_value_heads=2,
    num_local_experts=5, output_router_logits=False, pad_token_id=0,
    quantization_config=dict(
        modules_to_not_convert=["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                                "lm_head"], quant_method="mxfp4"),
    rms_norm_eps=1e-5, rope_scaling=YARN, rope_theta=150000, router_aux_loss_coef=0.9, sliding_window=8,
    swiglu_limit=1.5, tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.55.0.dev0",
    use_cache=True, vocab_size=203,
)

CASES = [
    case("gpt_oss", "v4", HUB, 27, rules=RULES, layout=packed, dtypes=[(r"_blocks$|_scales$", "uint8")],
         reference=dequantised, reference_config=without_quantization,
         same_as=dict(model_type="gpt_oss", vocab_size=203, hidden_size=96, intermediate_size=64,
                      num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, head_dim=20,
                      max_position_embeddings=512, rms_norm_eps=1e-5, num_local_experts=5, num_experts_per_tok=2,
                      sliding_window=8, swiglu_limit=1.5, pad_token_id=0, layer_types=[S, F, S],
                      rope_parameters=YARN | dict(rope_theta=150000)),
         drops=DROPS | {"the low nibble first": high_nibble_first}),
    # As unquantised copies have it: experts [in, out], sizes that no group of 32 divides.
    case("gpt_oss_plain", "v5",
         dict(model_type="gpt_oss", vocab_size=131, hidden_size=56, intermediate_size=36, num_hidden_layers=4,
              num_attention_heads=3, num_key_value_heads=1, head_dim=18, max_position_embeddings=512,
              rms_norm_eps=1e-5, num_local_experts=6, num_experts_per_tok=3, sliding_window=6, swiglu_limit=1.0,
              bos_token_id=1, eos_token_id=2, pad_token_id=0, rope_parameters=YARN | dict(rope_theta=150000.0)), 23,
         rules=RULES, drops=DROPS),
]
