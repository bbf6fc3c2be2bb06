//! What each `tokenizer.ggml.pre` stands for: how text is cut into words before merging.

use super::{ORIGIN, wrong};
use crate::error::Error;
use stablemate_checkpoint::gguf::Metadata;

/// One step of cutting text, as a model's `tokenizer.json` has it.
pub(super) enum Step {
    /// Matches of an expression, and what lies between them, are words.
    Split(&'static str),
    /// Every digit is a word.
    Digits,
    /// A run of digits is a word.
    DigitRuns,
    /// A run of punctuation is a word.
    Punctuation,
    /// GPT-2's expression, built into the library, which also writes bytes as letters. In other
    /// kinds, that comes last.
    Gpt2,
}

/// What `tokenizer.ggml.pre` stands for.
pub(super) struct Pre {
    names: &'static [&'static str],
    pub(super) steps: &'static [Step],
    /// Whether text is composed (NFC) first.
    pub(super) compose: bool,
    /// Whether a word that is a token as it stands is not merged from its letters.
    pub(super) ignore_merges: bool,
    /// Whether texts begin with the first token if no key says so.
    pub(super) add_bos: bool,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Letters of Latin, Greek, Cyrillic, Armenian, Georgian, Cherokee and others that have cases.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_SIGNS: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
const DEEPSEEK_CJK: &str = r"[一-龥ࠀ-一가-퟿]+";
const KIMI: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Pre {
    const fn new(names: &'static [&'static str], steps: &'static [Step]) -> Self {
        Self { names, steps, compose: false, ignore_merges: false, add_bos: false }
    }

    const fn composed(self) -> Self {
        Self { compose: true, ..self }
    }

    const fn whole_words(self) -> Self {
        Self { ignore_merges: true, ..self }
    }

    const fn with_bos(self) -> Self {
        Self { add_bos: true, ..self }
    }
}

/// Only kinds whose `tokenizer.json` is known: llama.cpp treats many more alike that differ in
/// normalisation or in `ignore_merges`, and its own default kind imitates no model.
const KNOWN: &[Pre] = &[
    Pre::new(&["gpt-2", "phi-2"], &[Step::Gpt2]),
    // GPT-NeoX's.
    Pre::new(&["mpt", "olmo"], &[Step::Gpt2]).composed(),
    Pre::new(&["smollm", "starcoder", "refact"], &[Step::Digits, Step::Gpt2]),
    Pre::new(&["command-r"], &[Step::Digits, Step::Gpt2]).composed(),
    Pre::new(
        &["falcon"],
        &[Step::Punctuation, Step::Gpt2, Step::DigitRuns, Step::Split("[0-9][0-9][0-9]")],
    ),
    Pre::new(&["llama-bpe", "llama3", "llama-v3"], &[Step::Split(LLAMA3)]).whole_words().with_bos(),
    Pre::new(&["glm4", "chatglm-bpe"], &[Step::Split(LLAMA3)]).whole_words(),
    Pre::new(&["qwen2", "deepseek-r1-qwen"], &[Step::Split(QWEN2)]).composed(),
    Pre::new(&["qwen35"], &[Step::Split(QWEN35)]).composed(),
    Pre::new(&["tekken"], &[Step::Split(TEKKEN)]).whole_words().with_bos(),
    Pre::new(&["gpt-4o", "llama4"], &[Step::Split(O200K)]).whole_words(),
    Pre::new(&["kimi-k2"], &[Step::Split(KIMI)]).whole_words(),
    Pre::new(
        &["deepseek-v3"],
        &[Step::Split(r"\p{N}{1,3}"), Step::Split(r"[一-龥぀-ゟ゠-ヿ]+"), Step::Split(DEEPSEEK3)],
    ),
    Pre::new(
        &["deepseek-llm"],
        &[
            Step::Split(r"[\r\n]"),
            Step::Split(DEEPSEEK_LETTERS),
            Step::Split(DEEPSEEK_SIGNS),
            Step::Split(r"\s+$"),
            Step::Split(DEEPSEEK_CJK),
            Step::Digits,
        ],
    ),
    Pre::new(
        &["deepseek-coder"],
        &[
            Step::Split(r"[\r\n]"),
            Step::Split(r"\s?\p{L}+"),
            Step::Split(r"\s?\p{P}+"),
            Step::Split(DEEPSEEK_CJK),
            Step::Digits,
        ],
    ),
];

/// What the file's `tokenizer.ggml.pre` stands for.
pub(super) fn read(metadata: &Metadata) -> Result<&'static Pre, Error> {
    let key = "tokenizer.ggml.pre";
    let known = || KNOWN.iter().flat_map(|pre| pre.names).copied().collect::<Vec<_>>().join(", ");
    let name = match metadata.string(key) {
        Some(name) => name,
        None if metadata.get(key).is_some() => return Err(wrong(key, "must be a string")),
        None => {
            let message = format!(
                "is missing: files this old do not say how text is cut into words; convert the model \
                 again (known: {})",
                known()
            );
            return Err(wrong(key, &message));
        }
    };
    KNOWN.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        Error::unsupported(ORIGIN, format!("{key} is {name:?}; supported are {}", known()))
    })
}
