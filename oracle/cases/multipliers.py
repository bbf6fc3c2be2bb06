"""granite: Llama with a multiplier on the embedding, on the scores (in place of 1 / sqrt(head_dim)), on what each part adds
to the residual, and a divisor of the logits. All are 1 where they are absent, the scores' too.
"""

from .common import case

GRANITE = dict(
    model_type="granite", vocab_size=203, hidden_size=60, intermediate_size=88, num_hidden_layers=3,
    num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1,
    eos_token_id=2, pad_token_id=0,
)
SCALES = dict(embedding_multiplier=3.0, attention_multiplier=0.25, residual_multiplier=0.75, logits_scaling=2.0)


def drops(head_dim):
    return {
        "embedding_multiplier": {"embedding_multiplier": 1.0},
        "attention_multiplier": {"attention_multiplier": head_dim**-0.5},
        "residual_multiplier": {"residual_multiplier": 1.0},
        "logits_scaling": {"logits_scaling": 1.0},
    }


CASES = [
    case("granite", "v5",
         GRANITE | SCALES | dict(attention_bias=True, mlp_bias=True,
                                 rope_parameters=dict(rope_theta=10000.0, rope_type="default")), 22,
         gain=dict(head=6.0), drops=drops(10) | {"biases": {"attention_bias": False, "mlp_bias": False}}),
    # granite-3's config.json, scaled down.
    case("granite_v4style", "v4",
         dict(architectures=["GraniteForCausalLM"], attention_bias=False, attention_dropout=0.1,
              attention_multiplier=0.1875, bos_token_id=0, embedding_multiplier=12.0, eos_token_id=0,
              hidden_act="silu", hidden_size=48, initializer_range=0.02, intermediate_size=72, logits_scaling=0.5,
              max_position_embeddings=512, mlp_bias=False, model_type="granite", num_attention_heads=4,
              num_hidden_layers=4, num_key_value_heads=1, pad_token_id=0, residual_multiplier=0.22, rms_norm_eps=1e-5,
              rope_scaling=None, rope_theta=10000000.0, tie_word_embeddings=True, torch_dtype="float32",
              transformers_version="4.46.0.dev0", use_cache=True, vocab_size=131), 24,
         same_as=dict(model_type="granite", vocab_size=131, hidden_size=48, intermediate_size=72,
                      num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=512,
                      rms_norm_eps=1e-5, attention_multiplier=0.1875, embedding_multiplier=12.0, logits_scaling=0.5,
                      residual_multiplier=0.22, tie_word_embeddings=True,
                      rope_parameters=dict(rope_theta=1e7, rope_type="default")),
         gain=dict(embed=0.0625, out=4.0, final=4.0), drops=drops(12)),
]
