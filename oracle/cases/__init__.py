"""The tiny models, by group: every folder of fixtures/ that holds an expected.json is one entry of CASES."""

from . import cohere, dense, experts, falcon, gemma, gemma4, gpt2, gpt_oss, latent, mamba, phi3, recurrent

CASES = (dense.CASES + gemma.CASES + gemma4.CASES + experts.CASES + gpt_oss.CASES + recurrent.CASES
         + cohere.CASES + phi3.CASES + gpt2.CASES + falcon.CASES + latent.CASES + mamba.CASES)

assert len({entry["name"] for entry in CASES}) == len(CASES), "two cases of one name"
