//! What is measured, and in which order.

use serde_json::{Value, json};

/// Tokens of context that each sequence has when several are decoded together.
const SHARED_DEPTH: usize = 32;

/// One measurement, the same for both sides. Rates are tokens of all sequences per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// A prompt, from an empty context to the logits of its last token.
    Prefill {
        /// Its tokens.
        tokens: usize,
    },
    /// Token after token.
    Decode {
        /// Steps.
        tokens: usize,
        /// Sequences that get a token in each step.
        sequences: usize,
        /// Tokens of context that each has before; they are not part of the time.
        depth: usize,
    },
}

impl Measurement {
    /// The line that a session is sent.
    pub fn request(self) -> Value {
        match self {
            Self::Prefill { tokens } => json!({"kind": "prefill", "tokens": tokens}),
            Self::Decode { tokens, sequences, depth } => {
                json!({"kind": "decode", "tokens": tokens, "sequences": sequences, "depth": depth})
            }
        }
    }

    /// Its row in the table.
    pub fn label(self) -> String {
        match self {
            Self::Prefill { tokens } => format!("prefill {tokens}"),
            Self::Decode { sequences: 1, depth: 0, .. } => "decode".to_owned(),
            Self::Decode { sequences: 1, depth, .. } => format!("decode at {depth}"),
            Self::Decode { sequences, .. } => format!("decode × {sequences}"),
        }
    }

    /// Whether nothing but the weights is read for a token: such a rate can be compared with the bandwidth.
    pub fn reads_weights_alone(self) -> bool {
        matches!(self, Self::Decode { sequences: 1, depth: 0, .. })
    }
}

/// The sizes asked for. A size of zero is left out, as in llama-bench.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Tokens of prompts.
    pub prefill: Vec<usize>,
    /// Steps of decoding.
    pub decode: usize,
    /// Sequences that are decoded together.
    pub batches: Vec<usize>,
    /// Tokens of context before a single sequence is decoded.
    pub depths: Vec<usize>,
}

impl Sizes {
    /// Every measurement: prompts; one sequence at each depth; several sequences, always at the same depth.
    pub fn measurements(&self) -> Vec<Measurement> {
        let prompts = self.prefill.iter().filter(|tokens| **tokens > 0);
        let mut all: Vec<_> = prompts.map(|&tokens| Measurement::Prefill { tokens }).collect();
        if self.decode > 0 {
            let decode =
                |sequences, depth| Measurement::Decode { tokens: self.decode, sequences, depth };
            for &sequences in self.batches.iter().filter(|sequences| **sequences > 0) {
                match sequences {
                    1 => all.extend(self.depths.iter().map(|&depth| decode(1, depth))),
                    _ => all.push(decode(sequences, SHARED_DEPTH)),
                }
            }
        }
        all
    }

    /// The arguments with which `stablemate bench` is told what is to come, so that it can make room for it.
    pub fn arguments(&self) -> Vec<String> {
        let list = |values: &[usize]| {
            let values: Vec<String> = values.iter().map(usize::to_string).collect();
            values.join(",")
        };
        let depths = [&self.depths[..], &[SHARED_DEPTH]].concat();
        [
            ("--prompt", list(&self.prefill)),
            ("--generate", self.decode.to_string()),
            ("--batch", list(&self.batches)),
            ("--depth", list(&depths)),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(decode: usize) -> Sizes {
        Sizes { prefill: vec![0, 128], decode, batches: vec![1, 8], depths: vec![0, 4096] }
    }

    #[test]
    fn depths_belong_to_one_sequence() {
        let labels: Vec<String> = sizes(32).measurements().iter().map(|one| one.label()).collect();
        assert_eq!(labels, ["prefill 128", "decode", "decode at 4096", "decode × 8"]);
        assert_eq!(sizes(0).measurements(), [Measurement::Prefill { tokens: 128 }]);
    }

    #[test]
    fn requests_say_everything() {
        let request = sizes(32).measurements().pop().unwrap().request();
        assert_eq!(request, json!({"kind": "decode", "tokens": 32, "sequences": 8, "depth": 32}));
        let arguments = sizes(16).arguments().join(" ");
        assert_eq!(arguments, "--prompt 0,128 --generate 16 --batch 1,8 --depth 0,4096,32");
    }
}
