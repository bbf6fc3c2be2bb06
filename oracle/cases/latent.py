"""Latent attention: deepseek_v3 (kimi_k2 is the same), deepseek_v2, minicpm3.

The norms of the two latents have eps 1e-6 whatever the configuration says. Queries and the one rotated key are paired
interleaved, unless `rope_interleave` is false. The softmax is scaled by 1 / sqrt(nope + rope), times the square of
0.1 * mscale_all_dim * ln(factor) + 1; the factor on cos and sin is the ratio that yarn always has with both mscale keys.
deepseek_v3 chooses groups by the sum of their best two biased scores, deepseek_v2 (softmax; only with topk_method
"group_limited_greedy") by their best one. Not read: `scoring_func`, `moe_layer_freq`, `ep_size`, and v2's
`norm_topk_prob`. A layer beyond num_hidden_layers guesses the token after the next.
minicpm3 has no experts; its rotation is half-split, and LongRoPE; the embedding is multiplied by `scale_emb`, what each part
adds to the residual by scale_depth / sqrt(layers), the last hidden state divided by hidden / dim_model_base.
"""

import torch

from .common import case, per_expert, replaced, stacked, zeroed

RULES = [
    (r"_a_layernorm\.weight$", 0.2, 1.0),
    (r"gate\.weight$", "router", 0.0),
    (r"e_score_correction_bias$", 0.125, 0.0),
    (r"kv_a_proj_with_mqa\.weight$", "qk", 0.0),
    (r"[qk]_[ab]_proj\.weight$", "qk", 0.0),
]
GAIN = dict(router=2.0)


def listed(shapes):
    return per_expert(stacked(shapes))


def attentions(model):
    return [m for m in model.modules() if hasattr(m, "kv_a_proj_with_mqa")]


def halves_rotated(model):
    """The rotation pairs the two halves."""
    for module in attentions(model):
        width = module.qk_rope_head_dim
        order = torch.arange(width).reshape(2, width // 2).t().reshape(-1)
        query = module.q_proj if module.q_lora_rank is None else module.q_b_proj
        heads = query.weight.data.view(module.num_heads, -1, query.in_features)
        heads[:, -width:] = heads[:, -width:][:, order].clone()
        for parameter in module.kv_a_proj_with_mqa.parameters():
            parameter.data[-width:] = parameter.data[-width:][order].clone()


def plain_scale(model):
    for module in attentions(model):
        module.scaling = module.qk_head_dim**-0.5


def latent_eps(eps):
    def drop(model):
        for module in attentions(model):
            for norm in (module.q_a_layernorm, module.kv_a_layernorm):
                if norm is not None:
                    norm.variance_epsilon = eps
    return drop


def router(biased_weights=False, best=2):
    """deepseek_v3's router with one thing wrong."""
    def forward(self, hidden):
        logits = torch.nn.functional.linear(hidden.reshape(-1, self.hidden_dim).float(), self.weight.float())
        scores = logits.sigmoid()
        biased = scores + self.e_score_correction_bias
        groups = biased.view(-1, self.num_group, self.num_experts // self.num_group)
        chosen = groups.topk(best, dim=-1).values.sum(-1).topk(self.topk_group, dim=-1).indices
        mask = torch.zeros(groups.shape[:2]).scatter_(1, chosen, 1).bool()
        groups = groups.masked_fill(~mask.unsqueeze(-1), float("-inf"))
        experts = groups.flatten(1).topk(self.top_k, dim=-1).indices
        weights = (biased if biased_weights else scores).gather(1, experts)
        if self.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return logits, weights * self.routed_scaling_factor, experts
    return replaced("DeepseekV3TopkRouter", forward=forward)


def no_correction(model):
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.zero_()


DROPS = {
    "the interleaved rotation": halves_rotated,
    "the shared expert": zeroed("shared_experts.down_proj"),
    "the routed experts": zeroed("mlp.experts.down_proj"),
}
V3_DROPS = DROPS | {
    "the correction bias": no_correction,
    "weights without the bias": router(biased_weights=True),
}
GROUP_DROPS = {"groups": {"topk_group": 4}, "groups by their best two": router(best=1)}
YARN_DROPS = {"yarn": {"rope_parameters.rope_type": "default"}, "mscale in the softmax's scale": plain_scale}


def mtp(layer, hidden, heads, experts, vocabulary):
    """Some tensors of a layer that guesses the token after the next."""
    place = f"model.layers.{layer}."
    return {
        f"{place}enorm.weight": [hidden], f"{place}hnorm.weight": [hidden],
        f"{place}eh_proj.weight": [hidden, 2 * hidden], f"{place}embed_tokens.weight": [vocabulary, hidden],
        f"{place}input_layernorm.weight": [hidden], f"{place}self_attn.o_proj.weight": [hidden, heads * 14],
        f"{place}mlp.gate.weight": [experts, hidden], f"{place}mlp.gate.e_score_correction_bias": [experts],
        f"{place}mlp.experts.0.gate_proj.weight": [20, hidden], f"{place}mlp.experts.0.up_proj.weight": [20, hidden],
        f"{place}mlp.experts.0.down_proj.weight": [hidden, 20],
        f"{place}shared_head.norm.weight": [hidden], f"{place}shared_head.head.weight": [vocabulary, hidden],
    }


YARN = dict(beta_fast=32, beta_slow=1, factor=8, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=64)

# DeepSeek-V3's config.json, scaled down.
HUB = dict(
    architectures=["DeepseekV3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=0,
    eos_token_id=1, ep_size=1, first_k_dense_replace=1, hidden_act="silu", hidden_size=56, initializer_range=0.02,
    intermediate_size=88, kv_lora_rank=24, max_position_embeddings=512, model_type="deepseek_v3",
    moe_intermediate_size=20, moe_layer_freq=1, n_group=4, n_routed_experts=12, n_shared_experts=1,
    norm_topk_prob=True, num_attention_heads=5, num_experts_per_tok=3, num_hidden_layers=3, num_key_value_heads=5,
    num_nextn_predict_layers=1, q_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=8, rms_norm_eps=1e-6,
    rope_scaling=YARN | dict(type="yarn"), rope_theta=10000, routed_scaling_factor=2.5, scoring_func="sigmoid",
    tie_word_embeddings=False, topk_group=2, topk_method="noaux_tc", torch_dtype="float32",
    transformers_version="4.33.1", use_cache=True, v_head_dim=14, vocab_size=203,
)
UNREAD = ("architectures", "ep_size", "moe_layer_freq", "rope_scaling", "rope_theta", "scoring_func", "topk_method",
          "torch_dtype", "transformers_version", "initializer_range", "use_cache", "num_nextn_predict_layers")


def modern(hub, **more):
    return {key: value for key, value in hub.items() if key not in UNREAD} | more


KIMI = HUB | dict(
    architectures=["DeepseekV3ForCausalLM"], model_type="kimi_k2", n_group=1, topk_group=1, n_routed_experts=7,
    n_shared_experts=1, num_attention_heads=4, num_key_value_heads=4, num_nextn_predict_layers=0, rope_theta=50000.0,
    routed_scaling_factor=2.827, aux_loss_alpha=0.001, seq_aux=True, num_hidden_layers=2, pretraining_tp=1,
    rope_scaling=YARN | dict(type="yarn", beta_fast=1.0, beta_slow=1.0, factor=32.0), transformers_version="4.48.3")

V3_CASES = [
    case("deepseek_v3", "v4", HUB, 29, rules=RULES, gain=GAIN, layout=listed,
         extra=mtp(3, 56, 5, 12, 203), ignored=r"layers\.3\.",
         same_as=modern(HUB, rope_parameters=YARN | dict(rope_theta=10000, rope_type="yarn")),
         drops=V3_DROPS | GROUP_DROPS | YARN_DROPS | {
             "renormalised weights": {"norm_topk_prob": False}, "the routed factor": {"routed_scaling_factor": 1.0}}),
    # No low rank for queries, weights as they are, biases, half-split, an eps that tells the latents' norms apart, and
    # mscale keys that leave a factor on cos and sin.
    case("deepseek_v3_direct", "v5",
         dict(model_type="deepseek_v3", vocab_size=131, hidden_size=48, intermediate_size=72,
              moe_intermediate_size=18, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
              n_shared_experts=2, n_routed_experts=6, routed_scaling_factor=1.5, kv_lora_rank=20, q_lora_rank=None,
              qk_rope_head_dim=6, v_head_dim=10, qk_nope_head_dim=14, n_group=1, topk_group=1,
              num_experts_per_tok=2, first_k_dense_replace=2, norm_topk_prob=False, max_position_embeddings=512,
              rms_norm_eps=0.03125, rope_interleave=False, attention_bias=True, bos_token_id=0, eos_token_id=1,
              rope_parameters=YARN | dict(rope_theta=10000.0, rope_type="yarn", mscale=1.5, mscale_all_dim=0.5)), 26,
         rules=RULES, gain=GAIN, layout=listed,
         drops={k: v for k, v in V3_DROPS.items() if k != "the interleaved rotation"} | YARN_DROPS | {
             "weights as they are": {"norm_topk_prob": True}, "half-split": {"rope_interleave": True},
             "the latents' own eps": latent_eps(0.03125), "mscale": {"rope_parameters.mscale": 0.5},
             "biases": zeroed("_with_mqa.bias")}),
    # One group, no layer to ignore; transformers knows the family by its other name.
    case("kimi_k2", "v4", KIMI, 24, rules=RULES, gain=GAIN, layout=listed,
         reference_config=lambda config: config | dict(model_type="deepseek_v3"),
         same_as=modern(KIMI, model_type="deepseek_v3", rope_parameters=YARN | dict(
             rope_theta=50000.0, rope_type="yarn", beta_fast=1.0, beta_slow=1.0, factor=32.0)),
         drops=V3_DROPS | YARN_DROPS | {"the routed factor": {"routed_scaling_factor": 1.0}}),
]

V2_CASES = [
    # DeepSeek-V2-Lite's config.json, scaled down: greedy, queries of full rank.
    case("deepseek_v2_lite", "v4",
         HUB | dict(architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", aux_loss_alpha=0.001,
                    n_group=1, topk_group=1, n_shared_experts=2, n_routed_experts=6, norm_topk_prob=False,
                    num_attention_heads=4, num_key_value_heads=4, q_lora_rank=None, routed_scaling_factor=1.0,
                    scoring_func="softmax", seq_aux=True, topk_method="greedy", pretraining_tp=1,
                    rope_scaling=YARN | dict(type="yarn", mscale=0.707, mscale_all_dim=0.707)), 23,
         same_as=modern(HUB, model_type="deepseek_v2", n_group=1, topk_group=1, n_shared_experts=2,
                        n_routed_experts=6, norm_topk_prob=False, num_attention_heads=4, num_key_value_heads=4,
                        q_lora_rank=None, routed_scaling_factor=1.0,
                        rope_parameters=YARN | dict(rope_theta=10000, rope_type="yarn", mscale=0.707,
                                                    mscale_all_dim=0.707)),
         rules=RULES, gain=GAIN, layout=listed, drops=DROPS | YARN_DROPS),
    # DeepSeek-V2: groups, low-rank queries.
    case("deepseek_v2", "v5",
         dict(model_type="deepseek_v2", vocab_size=131, hidden_size=60, intermediate_size=72,
              moe_intermediate_size=18, num_hidden_layers=3, num_attention_heads=5, num_key_value_heads=5,
              n_shared_experts=1, n_routed_experts=12, routed_scaling_factor=4.0, kv_lora_rank=20, q_lora_rank=26,
              qk_rope_head_dim=6, v_head_dim=10, qk_nope_head_dim=14, n_group=4, topk_group=2,
              topk_method="group_limited_greedy", num_experts_per_tok=3, first_k_dense_replace=1,
              max_position_embeddings=512, rms_norm_eps=1e-6, bos_token_id=0, eos_token_id=1,
              rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 22,
         rules=RULES, gain=GAIN, layout=listed,
         drops=DROPS | {"groups": {"topk_method": "greedy"}, "the routed factor": {"routed_scaling_factor": 1.0}}),
]


def interleaved(model):
    """The rotation pairs neighbours."""
    for module in attentions(model):
        width = module.qk_rope_head_dim
        order = torch.arange(width).reshape(width // 2, 2).t().reshape(-1)
        heads = module.q_b_proj.weight.data.view(module.num_heads, -1, module.q_b_proj.in_features)
        heads[:, -width:] = heads[:, -width:][:, order].clone()
        rows = module.kv_a_proj_with_mqa.weight.data
        rows[-width:] = rows[-width:][order].clone()


FACTORS = dict(short_factor=[1.0, 1.1, 1.4, 1.7], long_factor=[1.0, 2.1, 4.3, 7.9])
MINICPM3 = dict(
    model_type="minicpm3", vocab_size=203, hidden_size=60, intermediate_size=72, num_hidden_layers=3,
    num_attention_heads=5, num_key_value_heads=5, kv_lora_rank=20, q_lora_rank=26, qk_nope_head_dim=12,
    qk_rope_head_dim=8, max_position_embeddings=512, rms_norm_eps=1e-5, scale_emb=3, scale_depth=1.4,
    dim_model_base=40, bos_token_id=1, eos_token_id=2)
MINICPM3_DROPS = {
    "the half-split rotation": interleaved,
    "scale_emb": {"scale_emb": 1},
    "scale_depth": {"scale_depth": 3**0.5},
    "dim_model_base": {"dim_model_base": 60},
}

MINICPM3_CASES = [
    # MiniCPM3-4B's config.json, scaled down, in the short regime; v's heads are hidden / heads wide where no key says.
    case("minicpm3", "v4",
         MINICPM3 | dict(
             architectures=["MiniCPM3ForCausalLM"], attention_bias=False, attention_dropout=0.0, hidden_act="silu",
             initializer_range=0.1, rope_scaling=FACTORS | dict(original_max_position_embeddings=64, type="longrope"),
             torch_dtype="float32", transformers_version="4.41.0", use_cache=True), 22,
         same_as=MINICPM3 | dict(tie_word_embeddings=True, rope_parameters=FACTORS | dict(
             rope_theta=10000.0, rope_type="longrope", original_max_position_embeddings=64)),
         rules=RULES, gain=dict(out=2.5, embed=0.5),
         drops=MINICPM3_DROPS | {"the short factors": {"rope_parameters.short_factor": [1.0] * 4}}),
    case("minicpm3_long", "v5",
         MINICPM3 | dict(vocab_size=131, v_head_dim=14, tie_word_embeddings=False, rope_parameters=FACTORS | dict(
             rope_theta=10000.0, rope_type="longrope", original_max_position_embeddings=16)), 33,
         rules=RULES, gain=dict(head=4.0),
         drops=MINICPM3_DROPS | {"the long factors": {"rope_parameters.long_factor": [1.0] * 4},
                                 "the factor on cos and sin": {"rope_parameters.attention_factor": 1.0}}),
]

CASES = V3_CASES + V2_CASES + MINICPM3_CASES
