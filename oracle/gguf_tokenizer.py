"""A tokenizers.Tokenizer built by hand from GGUF metadata of the byte-level BPE kind ("gpt2").

transformers' own conversion forgets what `tokenizer.ggml.pre` says (for SmolLM2: that every digit is a token of its
own), so the oracle does not use it.
"""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

CONTROL, USER_DEFINED = 3, 4

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "isolated", invert=False)


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def pre_tokenizer(pre: str):
    """The pre-tokenizer that a value of tokenizer.ggml.pre names."""
    if pre == "smollm":
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        )
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre == "llama-bpe":
        return pre_tokenizers.Sequence([split(LLAMA3), bytes_only()])
    if pre == "qwen2":
        return pre_tokenizers.Sequence([split(QWEN2), bytes_only()])
    raise ValueError(f"no such pre-tokenizer: {pre}")


def build(tokens: list[str], types: list[int], merges: list[str], pre: str, unknown: str | None = None) -> Tokenizer:
    vocab = {token: i for i, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    model = models.BPE(vocab=vocab, merges=pairs, unk_token=unknown, ignore_merges=pre == "llama-bpe")
    tokenizer = Tokenizer(model)
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizer(pre)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t, k in zip(tokens, types) if k == CONTROL])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, types) if k == USER_DEFINED])
    assert tokenizer.get_vocab_size() == len(tokens)
    return tokenizer
