"""gpt2: learned positions, LayerNorms and biases everywhere, weights stored [in, out], one projection for q, k and v.

openai-community/gpt2 names its tensors without `transformer.`, most copies with it; both have the causal masks
`attn.bias` [1, 1, n, n] and some `attn.masked_bias`. `scale_attn_by_inverse_layer_idx` divides the scores of layer i by
i + 1; `reorder_and_upcast_attn` changes nothing in float32. `n_inner` null: four times the hidden size.
"""

from .common import case, means_kept, renamed, zeroed

RULES = [
    (r"ln_(1|2|f)\.weight$", 0.2, 1.0),
    (r"wte\.weight$", "embed", 0.0),
    (r"wpe\.weight$", "positions", 0.0),
    (r"c_attn\.weight$", 0.2, 0.0),
    (r"attn\.c_proj\.weight$", 0.25, 0.0),
    (r"c_fc\.weight$", 0.1875, 0.0),
    (r"mlp\.c_proj\.weight$", 0.1875, 0.0),
    (r"masked_bias$", 1.0, 0.0),
]
GAIN = dict(embed=4.0, positions=4.0, head=3.0)


def queries_per_head(model):
    """The columns of c_attn read head by head, as [q, k, v] of each."""
    for module in model.modules():
        if type(module).__name__ == "GPT2Attention":
            for parameter in module.c_attn.parameters():
                rows = parameter.data.view(*parameter.shape[:-1], module.num_heads, 3, module.head_dim)
                parameter.data = rows.transpose(-3, -2).reshape(parameter.shape)


DROPS = {
    "learned positions": zeroed("wpe"),
    "biases": zeroed(".bias"),
    "the mean of LayerNorm": means_kept("LayerNorm"),
    "all queries before all keys": queries_per_head,
}


def masks(prefix, layers, positions):
    names = {}
    for layer in range(layers):
        names[f"{prefix}h.{layer}.attn.bias"] = [1, 1, positions, positions]
        names[f"{prefix}h.{layer}.attn.masked_bias"] = []
    return names


HUB = dict(
    activation_function="gelu_new", architectures=["GPT2LMHeadModel"], attn_pdrop=0.1, bos_token_id=202,
    embd_pdrop=0.1, eos_token_id=202, initializer_range=0.02, layer_norm_epsilon=1e-5, model_type="gpt2", n_ctx=96,
    n_embd=60, n_head=5, n_layer=3, n_positions=96, resid_pdrop=0.1, summary_activation=None,
    summary_first_dropout=0.1, summary_proj_to_labels=True, summary_type="cls_index", summary_use_proj=True,
    vocab_size=203,
)

CASES = [
    # openai-community/gpt2's config.json and names, scaled down: tied, no n_inner.
    case("gpt2", "v4", HUB, 21, rules=RULES, gain=GAIN, layout=renamed(("transformer.", "")),
         same_as=dict(model_type="gpt2", n_embd=60, n_head=5, n_layer=3, n_positions=96, vocab_size=203,
                      activation_function="gelu_new", n_inner=None),
         extra=masks("", 3, 96), drops=DROPS),
    case("gpt2_prefixed", "v5",
         dict(model_type="gpt2", n_embd=48, n_head=6, n_layer=3, n_positions=128, n_inner=72, vocab_size=131,
              activation_function="gelu", layer_norm_epsilon=1e-6, scale_attn_by_inverse_layer_idx=True,
              tie_word_embeddings=False, bos_token_id=1, eos_token_id=2), 25,
         rules=RULES, gain=GAIN, extra=masks("transformer.", 3, 128),
         drops=DROPS | {"scores by layer": {"scale_attn_by_inverse_layer_idx": False}}),
]
