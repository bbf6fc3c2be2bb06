"""olmo2, olmo3, exaone4: norms behind the parts and none before them, norms on queries and keys.

olmo2, olmo3: those go over the whole projection, all heads at once. exaone4: over each head.
olmo3: every fourth layer is full where `layer_types` is absent. `rope_scaling` (yarn) is for full layers alone. In the
transformers-4 spelling `rope_theta` is taken by the full layers; the windowed ones get 500 000 whatever it is.
exaone4: with a window, full layers are not rotated; without one, all are. transformers reads `sliding_window_pattern` only
where `layer_types` is absent, and then cannot read the texts ("LLLG") of hub files, nor a `sliding_window` of null.
"""

import torch

from .common import case

F, S = "full_attention", "sliding_attention"


def norms_before(*layers):
    """Each part reads the norm of its input, and its output is added as it is."""
    def forward(self, hidden_states, past_key_values=None, **more):
        attended, _ = self.self_attn(hidden_states=self.post_attention_layernorm(hidden_states),
                                     past_key_values=past_key_values, **more)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_feedforward_layernorm(hidden_states))

    def drop(model):
        for module in model.modules():
            if type(module).__name__ in layers:
                module.forward = forward.__get__(module)
    return drop


def norms_per_head(model):
    """Queries and keys normalised head by head."""
    for module in model.modules():
        for name in ("q_norm", "k_norm"):
            norm = getattr(module, name, None)
            if norm is None:
                continue

            def forward(self, x, width=module.head_dim):
                heads = x.float().view(*x.shape[:-1], -1, width)
                heads = heads * torch.rsqrt(heads.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
                return self.weight * heads.reshape(x.shape)
            norm.forward = forward.__get__(norm)


OLMO = dict(vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2,
            pad_token_id=0)
OLMO_DROPS = {"norms behind the parts": norms_before("Olmo2DecoderLayer", "Olmo3DecoderLayer"),
              "norms over the whole projection": norms_per_head}

OLMO_CASES = [
    case("olmo2", "v5", OLMO | dict(model_type="olmo2", attention_bias=True,
                                    rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 22,
         drops=OLMO_DROPS | {"biases": {"attention_bias": False}}),
    # OLMo-2-7B's config.json, scaled down; some ids are not given.
    case("olmo2_v4style", "v4",
         dict(architectures=["Olmo2ForCausalLM"], attention_bias=False, attention_dropout=0.0, eos_token_id=2,
              hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72,
              max_position_embeddings=512, model_type="olmo2", num_attention_heads=4, num_hidden_layers=3,
              num_key_value_heads=4, pad_token_id=0, rms_norm_eps=1e-6, rope_scaling=None, rope_theta=500000,
              tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.47.0.dev0", use_cache=True,
              vocab_size=131), 20,
         same_as=dict(model_type="olmo2", vocab_size=131, hidden_size=48, intermediate_size=72, num_hidden_layers=3,
                      num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, rms_norm_eps=1e-6,
                      rope_parameters=dict(rope_theta=500000, rope_type="default")),
         drops=OLMO_DROPS),
    case("olmo3", "v5",
         OLMO | dict(model_type="olmo3", num_hidden_layers=4, sliding_window=8, layer_types=[S, F, S, F],
                     rope_parameters={F: dict(rope_theta=20000.0, rope_type="yarn", factor=4.0, attention_factor=1.2,
                                              beta_fast=32.0, beta_slow=1.0, original_max_position_embeddings=64),
                                      S: dict(rope_theta=10000.0, rope_type="default")}), 24,
         drops=OLMO_DROPS | {"windows": {"sliding_window": 512},
                             "yarn on full layers": {f"rope_parameters.{F}.rope_type": "default"},
                             "the windowed layers' base": {f"rope_parameters.{S}.rope_theta": 1e6}}),
    # Olmo-3-7B's config.json, scaled down, without its list of layers.
    case("olmo3_v4style", "v4",
         dict(architectures=["Olmo3ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=None,
              eos_token_id=2, hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72,
              max_position_embeddings=512, model_type="olmo3", num_attention_heads=4, num_hidden_layers=5,
              num_key_value_heads=2, pad_token_id=0, rms_norm_eps=1e-6,
              rope_scaling=dict(attention_factor=1.2079441541679836, beta_fast=32.0, beta_slow=1.0, factor=8.0,
                                original_max_position_embeddings=64, rope_type="yarn"),
              rope_theta=500000, sliding_window=6, tie_word_embeddings=False, torch_dtype="float32",
              transformers_version="4.57.0.dev0", use_cache=True, vocab_size=131), 21,
         same_as=dict(model_type="olmo3", vocab_size=131, hidden_size=48, intermediate_size=72, num_hidden_layers=5,
                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-6,
                      pad_token_id=0, sliding_window=6, layer_types=[S, S, S, F, S],
                      rope_parameters={
                          F: dict(rope_theta=500000, rope_type="yarn", factor=8.0, beta_fast=32.0, beta_slow=1.0,
                                  attention_factor=1.2079441541679836, original_max_position_embeddings=64),
                          S: dict(rope_theta=500000, rope_type="default")}),
         drops=OLMO_DROPS | {"windows": {"sliding_window": 512},
                             "yarn on full layers": {f"rope_parameters.{F}.rope_type": "default"}}),
]


def rotated_everywhere(model):
    for module in model.modules():
        if type(module).__name__ == "Exaone4Attention":
            module.is_sliding = True


EXAONE_DROPS = {"norms behind the parts": norms_before("Exaone4DecoderLayer")}

EXAONE_CASES = [
    # EXAONE-4.0-32B's kind: windows, full layers without rotation.
    case("exaone4", "v5",
         dict(model_type="exaone4", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=4,
              num_attention_heads=6, num_key_value_heads=2, head_dim=14, max_position_embeddings=512,
              rms_norm_eps=1e-5, sliding_window=8, sliding_window_pattern=2, bos_token_id=1, eos_token_id=2,
              pad_token_id=0, rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 24,
         drops=EXAONE_DROPS | {"windows": {"sliding_window": 512},
                               "full layers without rotation": rotated_everywhere}),
    # EXAONE-4.0-1.2B's config.json, scaled down: no windows, all rotated, tied.
    case("exaone4_v4style", "v4",
         dict(architectures=["Exaone4ForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2,
              head_dim=16, hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72,
              layer_types=[F, F, F], max_position_embeddings=512, model_type="exaone4", num_attention_heads=4,
              num_hidden_layers=3, num_key_value_heads=1, pad_token_id=0, rms_norm_eps=1e-5,
              rope_scaling=dict(factor=16.0, high_freq_factor=4.0, low_freq_factor=1.0,
                                original_max_position_embeddings=64, rope_type="llama3"),
              rope_theta=100000, sliding_window=None, sliding_window_pattern=None, tie_word_embeddings=True,
              torch_dtype="float32", transformers_version="4.54.0.dev0", use_cache=True, vocab_size=131), 22,
         same_as=dict(model_type="exaone4", vocab_size=131, hidden_size=48, intermediate_size=72,
                      num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, head_dim=16,
                      max_position_embeddings=512, rms_norm_eps=1e-5, sliding_window=None, layer_types=[F, F, F],
                      tie_word_embeddings=True,
                      rope_parameters=dict(rope_theta=100000, rope_type="llama3", factor=16.0, high_freq_factor=4.0,
                                           low_freq_factor=1.0, original_max_position_embeddings=64)),
         gain=dict(out=2.5, embed=0.5),
         drops=EXAONE_DROPS | {"the rotation's base": {"rope_parameters.rope_theta": 1e6},
                               "llama3 scaling": {"rope_parameters.rope_type": "default"}}),
]

CASES = OLMO_CASES + EXAONE_CASES
