"""The tiny models, by group: every folder of fixtures/ that holds an expected.json is one entry of CASES."""

from . import (
    aliases, cohere, convolution, dense, experts, falcon, foreign, gemma, gemma4, glm, gpt2, gpt_oss, latent, layernorm,
    mamba, mistral, multipliers, phi3, postnorm, qwen3_next, recurrent, smollm3, wrappers,
)

GROUPS = (
    dense, gemma, gemma4, experts, gpt_oss, recurrent, cohere, phi3, gpt2, falcon, latent, mamba, smollm3, postnorm,
    multipliers, layernorm, glm, mistral, aliases, convolution, qwen3_next, wrappers,
    foreign,
)
CASES = [entry for group in GROUPS for entry in group.CASES]

assert len({entry["name"] for entry in CASES}) == len(CASES), "two cases of one name"
