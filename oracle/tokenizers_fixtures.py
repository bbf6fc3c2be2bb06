"""fixtures/tokenizers/<kind>/: tiny vocabularies of every kind we read, with the ids they give to nasty strings.

    tokenizer.json   as Hugging Face has it
    gguf.json        the same vocabulary as GGUF metadata
    expected.json    [{text, ids, ids_with_special, decoded, decoded_skipping}]
    decode.json      [{ids, decoded}]: ids that are no text of their own (halves of a character, bytes alone)

`ids` is encode(text, add_special_tokens=False): special tokens inside the text are still recognised. `decoded` is
decode(ids) with special tokens kept, `decoded_skipping` is decode(ids_with_special) with them left out.

Byte-level kinds (llama-bpe, smollm, qwen2, gpt-2) are trained with `tokenizers`; gguf_tokenizer.build, which sees only
gguf.json, must give the same ids. SentencePiece kinds (llama, gemma) are trained with `sentencepiece`, whose ids are
the truth for every text without a special token in it, and the tokenizer.json must agree with it.
"""

import io
import json
import pathlib

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from gguf_tokenizer import CONTROL, LLAMA3, QWEN2, USER_DEFINED, build, bytes_only, split

NORMAL, UNKNOWN, BYTE = 1, 2, 6

CORPUS = """\
The river was low that summer, and the children walked across it to school with their shoes in their hands.
I don't know what they're doing, but we'll see; it's not that I can't wait. You've heard it, and I'd say he's right.
She said: "There isn't any more bread, is there?" There wasn't. They hadn't bought any, because they'd forgotten.
In 1987 the town had 12,345 people; in 2024 it had 23,456. That is 90.0% more, or 1.9 times as many, in 37 years.
def area(width, height):
    if width < 0 or height < 0:
        raise ValueError("negative size")
    return width * height
for (int i = 0; i < 10; i++) {
    total += values[i] * weights[i];
}
The quick answer is that the answer is in the question, and the question is in the other answer.
Le café était fermé, et l'été aussi. Où est la clé ? Peut-être à l'école, derrière la porte.
Die Straße führt über die Brücke; am Ende wird der Fluß breiter. Größe und Gewicht sind angegeben.
El niño corrió por la montaña hasta el año siguiente. ¿Dónde está el pingüino? ¡Aquí, señor!
Москва находится далеко от моря, но река течёт через весь город. Что это такое?
東京は日本の首都です。今日はとてもいい天気です。日本語の文章です。
今天天气很好，我们去公园散步。中文的句子没有空格。
안녕하세요, 오늘은 날씨가 좋습니다. 한국어 문장입니다.
مرحبا بالعالم، هذه جملة باللغة العربية.
שלום עולם, זה משפט בעברית.
สวัสดีชาวโลก นี่คือประโยคภาษาไทย
123 123 1234 1234 12345 2024 2024 100 1000 1000 3.14 3.14 00 000 ١٢٣ ١٢٣
The cat 🐈 sat on the mat 🙂🙂 and the dog 🐕 did not.
    four spaces, then        eight spaces, and\tone tab.
HTTP/1.1 200 OK; https://example.org/path?query=value&other=1#part
{"name": "value", "list": [1, 2, 3], "nested": {"true": true, "null": null}}
"""

NASTY = [
    "",
    " ",
    "  ",
    "     ",
    "a",
    " a",
    "a ",
    "  leading and trailing  ",
    "The river was low that summer.",
    "multiple   spaces    between     words",
    "line\nbreak\n\ntwo\n\n\nthree\n",
    "\n",
    "\n\n  \n",
    " \n \n",
    "tab\tand\t\ttwo",
    "\t",
    "carriage\r\nreturn\r\n\r\nlines\rold",
    "0 1 12 123 1234 12345 123456789",
    "3.14159, -2e10, 1,000,000.00 and 0x7F",
    "year2024and٣٤٥and²³½Ⅷ",
    "don't can't I'll you've we're he'd she's I'm",
    "DON'T CAN'T I'LL YOU'VE WE'RE HE'D SHE'S I'M",
    "'tis the dogs' o'clock ''s 's'S",
    "don’t use ‘curly’ “quotes”…",
    "def f(x):\n    return x**2  # square\n\n\tif True:\n        pass\n",
    "a_b-c.d/e\\f:g;h|i~j`k@l#m$n%o^p&q*r(s)t[u]v{w}x<y>z",
    "!!!???...---===+++***",
    "https://example.org/päth?q=1&r=%20#frag",
    "CamelCaseWords and snake_case_words and SCREAMING",
    "Le café était fermé",
    "cafe\u0301 A\u030a n\u0303 o\u0302\u0323",
    "\u1100\u1161\u11a8 ﬁne ﬀ Å ①",
    "Größe Straße ẞ ǅ İstanbul ς",
    "東京は日本の首都です。",
    "今天天气很好，我们去公园。 中文 mixed 和 English",
    "안녕하세요 세계",
    "مرحبا بالعالم ١٢٣",
    "שָׁלוֹם עולם",
    "สวัสดีชาวโลก",
    "हिन्दी में क्षत्रिय",
    "🙂🙃 👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇫🇷",
    "x\u200by\u200dz\ufeffw\u00a0v\u3000u\u2028t\u0085s",
    "\x00\x01\x1b[0m\x7f\x80\xff\ufffd",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 \U0010ffff",
    "a" * 100,
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
    " " * 50 + "x",
    "\n" * 20,
    "▁ already ▁there ▁▁ Ġ Ċ",
    "<0x41><0x0A> <unk> <pad>",
]


def with_specials(names: list[str]) -> list[str]:
    """Texts with special tokens in them, whole, touching, broken and doubled."""
    a, b = names[0], names[-1]
    return [
        a,
        f"{a}{b}",
        f"before{a}after",
        f"before {a} after",
        f"{a}user\nHello there{b}\n{a}assistant\n",
        f"{a[:-1]} not quite {b[1:]}",
        f"{a}  {a}\n{b}{b}x",
        f"{a.upper()} {a[0]}{a}{b}{b[-1]}",
        f"don't {a}'ll 123{b}456",
    ]


def dump(path: pathlib.Path, value) -> None:
    if isinstance(value, list):
        text = "[\n" + ",\n".join(" " + json.dumps(row, separators=(",", ":")) for row in value) + "\n]\n"
    else:
        rows = [f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False, separators=(',', ':'))}" for k, v in value.items()]
        text = "{\n" + ",\n".join(rows) + "\n}\n"
    path.write_text(text)


def expected(tokenizer: Tokenizer, texts: list[str]) -> list[dict]:
    rows = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        special = tokenizer.encode(text, add_special_tokens=True).ids
        rows.append({
            "text": text, "ids": ids, "ids_with_special": special,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_skipping": tokenizer.decode(special, skip_special_tokens=True),
        })
    return rows


def partial(tokenizer: Tokenizer, byte_id) -> list[dict]:
    """Ids of single bytes: whole characters, halves of them, bytes that no UTF-8 text has."""
    whole = "é東🙂".encode()
    sequences = [
        list(whole), list(whole[:1]), list(whole[1:]), list(whole[:3]), list(whole[:4]), list(whole[:-1]),
        list(whole[2:5]), list(whole[5:8]) + list(b"x"), [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0x80, 0x41, 0xBF],
        [0xF4, 0x90, 0x80, 0x80], [0xE6, 0x9D, 0x41, 0xB1],
    ]
    rows = []
    for sequence in sequences:
        ids = [byte_id(byte) for byte in sequence]
        rows.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    return rows


def byte_letters() -> dict[int, str]:
    """GPT-2's letter for every byte: printable bytes are themselves, the others follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(printable))
    return letters


# ---- byte-level BPE ---------------------------------------------------------------------------------------------

# pre -> special tokens, other added tokens, whether they stand first, bos, eos, whether bos is added
BYTE_LEVEL = {
    "llama-bpe": dict(
        special=["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        added=[], first=False, bos="<|begin_of_text|>", eos="<|eot_id|>", add_bos=True),
    "smollm": dict(
        special=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"],
        added=[], first=True, bos="<|im_start|>", eos="<|im_end|>", add_bos=False),
    "qwen2": dict(
        special=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        added=["<tool_call>", "</tool_call>", "<think>", "</think>"], first=False, bos=None, eos="<|im_end|>",
        add_bos=False),
    "gpt-2": dict(
        special=["<|endoftext|>"], added=[], first=False, bos="<|endoftext|>", eos="<|endoftext|>", add_bos=False),
}


def byte_level(pre: str, wanted: dict) -> tuple[Tokenizer, dict]:
    total = 600 - len(wanted["special"]) - len(wanted["added"])
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    if pre == "llama-bpe":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(LLAMA3), bytes_only()])
    elif pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(QWEN2), bytes_only()])
    elif pre == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=total + (len(wanted["special"]) if wanted["first"] else 0), show_progress=False,
        special_tokens=wanted["special"] if wanted["first"] else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2)
    tokenizer.train_from_iterator([CORPUS], trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in wanted["special"]])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in wanted["added"]])
    if wanted["add_bos"]:
        bos = wanted["bos"]
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1",
                                          special_tokens=[(bos, tokenizer.token_to_id(bos))]),
        ])
    elif pre != "smollm":
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=pre != "qwen2")

    vocab = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocab, key=vocab.get)
    kinds = {t: CONTROL for t in wanted["special"]} | {t: USER_DEFINED for t in wanted["added"]}
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    gguf = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [kinds.get(t, NORMAL) for t in tokens],
        "tokenizer.ggml.merges": merges,
    }
    if wanted["bos"]:
        gguf["tokenizer.ggml.bos_token_id"] = vocab[wanted["bos"]]
    gguf["tokenizer.ggml.eos_token_id"] = vocab[wanted["eos"]]
    if pre != "gpt-2":  # this one leaves it to the reader's default
        gguf["tokenizer.ggml.add_bos_token"] = wanted["add_bos"]
    if pre == "smollm":
        gguf["tokenizer.ggml.unknown_token_id"] = vocab["<|endoftext|>"]
        gguf["tokenizer.ggml.add_space_prefix"] = False
    return tokenizer, gguf


# ---- SentencePiece ----------------------------------------------------------------------------------------------


def sentence_piece(kind: str) -> tuple[Tokenizer, dict, sentencepiece.SentencePieceProcessor]:
    prefix = kind == "llama"
    added = ["<|im_start|>", "<|im_end|>"] if prefix else ["<start_of_turn>", "<end_of_turn>"]
    bos, eos = ("<s>", "</s>") if prefix else ("<bos>", "<eos>")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.split("\n")), model_writer=model, model_type="bpe", vocab_size=596,
        byte_fallback=True, character_coverage=0.98, split_digits=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, add_dummy_prefix=prefix,
        unk_id=0 if prefix else 3, bos_id=1 if prefix else 2, eos_id=2 if prefix else 1,
        pad_id=-1 if prefix else 0, bos_piece=bos, eos_piece=eos, minloglevel=2, num_threads=1)
    truth = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    size = truth.get_piece_size()
    pieces = [truth.id_to_piece(i) for i in range(size)]
    scores = [truth.get_score(i) for i in range(size)]
    types = [UNKNOWN if truth.is_unknown(i) else CONTROL if truth.is_control(i) else BYTE if truth.is_byte(i)
             else NORMAL for i in range(size)]

    # A piece of rank r arises from any two pieces that spell it; the pairs of one piece keep together.
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for i, piece in enumerate(pieces):
        if types[i] == NORMAL:
            pairs = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
            pairs = [(a, b) for a, b in pairs if a in vocab and b in vocab]
            merges += [(-scores[i], vocab[a], vocab[b], a, b) for a, b in pairs]
    merges = [(a, b) for *_, a, b in sorted(merges)]

    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(back + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    controls = [p for p, t in zip(pieces, types) if t in (UNKNOWN, CONTROL)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in controls + added])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, vocab[bos])])
    gguf = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": pieces + added,
        "tokenizer.ggml.scores": scores + [-1000.0] * len(added),
        "tokenizer.ggml.token_type": types + [CONTROL] * len(added),
        "tokenizer.ggml.bos_token_id": vocab[bos],
        "tokenizer.ggml.eos_token_id": vocab[eos],
        "tokenizer.ggml.unknown_token_id": vocab["<unk>"],
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    return tokenizer, gguf, truth


# ---- all --------------------------------------------------------------------------------------------------------


def main() -> None:
    root = pathlib.Path(__file__).parent.parent / "fixtures" / "tokenizers"
    letters = byte_letters()
    for pre, wanted in BYTE_LEVEL.items():
        tokenizer, gguf = byte_level(pre, wanted)
        rebuilt = build(gguf["tokenizer.ggml.tokens"], gguf["tokenizer.ggml.token_type"],
                        gguf["tokenizer.ggml.merges"], pre)
        rows = expected(tokenizer, NASTY + with_specials(wanted["special"] + wanted["added"]))
        for row in rows:
            assert rebuilt.encode(row["text"], add_special_tokens=False).ids == row["ids"], row["text"]
            assert rebuilt.decode(row["ids"], skip_special_tokens=False) == row["decoded"]
        save(root / pre, tokenizer, gguf, rows, partial(tokenizer, lambda byte: tokenizer.token_to_id(letters[byte])))
    for kind in ("llama", "gemma"):
        tokenizer, gguf, truth = sentence_piece(kind)
        specials = [t for t, k in zip(gguf["tokenizer.ggml.tokens"], gguf["tokenizer.ggml.token_type"])
                    if k in (CONTROL, UNKNOWN)]
        rows = expected(tokenizer, NASTY + with_specials(specials[1:3] + specials[-2:]))
        differ = 0
        for row in rows:
            if any(special in row["text"] for special in specials):
                continue
            if truth.encode(row["text"]) != row["ids"]:
                print("differs:", kind, repr(row["text"]), truth.encode(row["text"], out_type=str),
                      [tokenizer.id_to_token(i) for i in row["ids"]])
                differ += 1
            if truth.decode(row["ids"]) != row["decoded"]:
                print("decodes otherwise:", kind, repr(row["decoded"]), repr(truth.decode(row["ids"])))
        assert not differ
        save(root / kind, tokenizer, gguf, rows, partial(tokenizer, lambda byte: tokenizer.token_to_id(f"<0x{byte:02X}>")))


def save(folder: pathlib.Path, tokenizer: Tokenizer, gguf: dict, rows: list[dict], pieces: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n")
    dump(folder / "gguf.json", gguf)
    dump(folder / "expected.json", rows)
    dump(folder / "decode.json", pieces)
    print(f"{folder.name}: {len(gguf['tokenizer.ggml.tokens'])} tokens, {len(rows)} texts, "
          f"{sum(len(row['ids']) for row in rows)} ids")


if __name__ == "__main__":
    main()
