"""How each `tokenizer.ggml.pre` cuts text: fixtures/tokenizers/pre.json.

One vocabulary serves all kinds. Its merges were learnt without cutting lines into words, so that a
missing or a wrong cut shows in the ids. The pre-tokenizers are written down as the models' own
tokenizer.json has them.
"""

import json
import pathlib

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from gguf_tokenizer import LLAMA3, QWEN2, bytes_only
from tokenizers_fixtures import CORPUS, NASTY, byte_letters

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN35 = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
START = r"[^\r\n\p{L}\p{N}]?"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = f"{START}{UPPER}*{LOWER}+|{START}{UPPER}+{LOWER}*|\\p{{N}}{TAIL}"
O200K = f"{START}{UPPER}*{LOWER}+{CONTRACTIONS}?|{START}{UPPER}+{LOWER}*{CONTRACTIONS}?|\\p{{N}}{{1,3}}{TAIL}"
# Moonshot's tokenization_kimi.py, for tiktoken.
KIMI = "|".join([
    r"[\p{Han}]+",
    START + UPPER[:-1] + r"&&[^\p{Han}]]*" + LOWER[:-1] + r"&&[^\p{Han}]]+" + CONTRACTIONS + "?",
    START + UPPER[:-1] + r"&&[^\p{Han}]]+" + LOWER[:-1] + r"&&[^\p{Han}]]*" + CONTRACTIONS + "?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
# Letters that have cases, as ranges of code points.
CASED = [
    0xB5, (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x1BA), (0x1BC, 0x1BF), (0x1C4, 0x293), (0x295, 0x2AF), (0x370, 0x373),
    0x376, 0x377, (0x37B, 0x37D), 0x37F, 0x386, (0x388, 0x38A), 0x38C, (0x38E, 0x3A1), (0x3A3, 0x3F5), (0x3F7, 0x481),
    (0x48A, 0x52F), (0x531, 0x556), (0x10A0, 0x10C5), (0x13A0, 0x13F5), (0x13F8, 0x13FD), (0x1C90, 0x1CBA),
    (0x1CBD, 0x1CBF), (0x1D00, 0x1D2B), (0x1D6B, 0x1D77), (0x1D79, 0x1D9A), (0x1E00, 0x1F15), (0x1F18, 0x1F1D),
    (0x1F20, 0x1F45), (0x1F48, 0x1F4D), (0x1F50, 0x1F57), 0x1F59, 0x1F5B, 0x1F5D, (0x1F5F, 0x1F7D), (0x1F80, 0x1FB4),
    (0x1FB6, 0x1FBC), 0x1FBE, (0x1FC2, 0x1FC4), (0x1FC6, 0x1FCC), (0x1FD0, 0x1FD3), (0x1FD6, 0x1FDB), (0x1FE0, 0x1FEC),
    (0x1FF2, 0x1FF4), (0x1FF6, 0x1FFC), 0x2102, 0x2107, (0x210A, 0x2113), 0x2115, (0x2119, 0x211D), 0x2124, 0x2126,
    0x2128, (0x212A, 0x212D), (0x212F, 0x2134), 0x2139, (0x213C, 0x213F), (0x2145, 0x2149), 0x214E, 0x2183, 0x2184,
    (0x2C00, 0x2C7B), (0x2C7E, 0x2CE4), (0x2CEB, 0x2CEE), 0x2CF2, 0x2CF3, (0xA640, 0xA66D), (0xA680, 0xA69B),
    (0xA722, 0xA76F), (0xA771, 0xA787), (0xA78B, 0xA78E), (0xAB70, 0xABBF), (0xFB00, 0xFB06), (0xFB13, 0xFB17),
    (0xFF21, 0xFF3A), (0xFF41, 0xFF5A), (0x10400, 0x1044F), (0x104B0, 0x104D3), (0x104D8, 0x104FB), (0x10C80, 0x10CB2),
    (0x10CC0, 0x10CF2), (0x118A0, 0x118DF), (0x1E900, 0x1E943),
]
LETTERS = "".join(chr(r) if isinstance(r, int) else f"{chr(r[0])}-{chr(r[1])}" for r in CASED)
CJK = "[一-龥ࠀ-一가-퟿]+"


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "isolated", invert=False)


def digits():
    return pre_tokenizers.Digits(individual_digits=True)


def gpt2():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# pre -> steps, normalizer
KINDS = {
    "gpt-2": ([gpt2()], None),
    "mpt": ([gpt2()], "nfc"),
    "starcoder": ([digits(), gpt2()], None),
    "command-r": ([digits(), gpt2()], "nfc"),
    "falcon": (
        [
            pre_tokenizers.Punctuation("contiguous"),
            gpt2(),
            pre_tokenizers.Digits(individual_digits=False),
            split("[0-9][0-9][0-9]"),
        ],
        None,
    ),
    "llama-bpe": ([split(LLAMA3), bytes_only()], None),
    "glm4": ([split(LLAMA3), bytes_only()], None),
    "qwen2": ([split(QWEN2), bytes_only()], "nfc"),
    "qwen35": ([split(QWEN35), bytes_only()], "nfc"),
    "tekken": ([split(TEKKEN), bytes_only()], None),
    "gpt-4o": ([split(O200K), bytes_only()], None),
    "kimi-k2": ([split(KIMI), bytes_only()], None),
    "deepseek-v3": ([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3), bytes_only()], None),
    "deepseek-llm": (
        [
            split(r"[\r\n]"),
            split(rf"\s?[A-Za-z{LETTERS}]+"),
            split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            split(r"\s+$"),
            split(CJK),
            digits(),
            bytes_only(),
        ],
        None,
    ),
    "deepseek-coder": (
        [split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK), digits(), bytes_only()],
        None,
    ),
}
WHOLE_WORDS = ("llama-bpe", "glm4", "tekken", "gpt-4o", "kimi-k2")


def main() -> None:
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = bytes_only()
    trainer = trainers.BpeTrainer(
        vocab_size=1100, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=1)
    # The nasty texts, too: their signs and scripts are cut in the ways that differ.
    learnt.train_from_iterator([CORPUS, *NASTY, *NASTY], trainer)
    model = json.loads(learnt.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
    tokens = sorted(vocab, key=vocab.get)
    assert set(byte_letters().values()) <= set(tokens)
    kinds = {}
    for pre, (steps, normalizer) in KINDS.items():
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=pre in WHOLE_WORDS))
        tokenizer.normalizer = normalizers.NFC() if normalizer else None
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        kinds[pre] = [tokenizer.encode(text, add_special_tokens=False).ids for text in NASTY]
    # Every pair of kinds differs somewhere, but for those that share all steps.
    distinct = {json.dumps(ids) for ids in kinds.values()}
    assert len(distinct) == len(kinds) - 1, len(distinct)
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "tokenizers" / "pre.json"
    rows = [f' "{pre}": {json.dumps(ids, separators=(",", ":"))}' for pre, ids in kinds.items()]
    path.write_text(
        "{\n"
        + f'"tokens": {json.dumps(tokens, separators=(",", ":"))},\n'
        + f'"merges": {json.dumps([" ".join(pair) for pair in merges], separators=(",", ":"))},\n'
        + f'"texts": {json.dumps(NASTY, separators=(",", ":"))},\n'
        + '"kinds": {\n' + ",\n".join(rows) + "\n}\n}\n")


if __name__ == "__main__":
    main()
