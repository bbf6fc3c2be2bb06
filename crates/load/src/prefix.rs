//! What a shared prefix saves.

use serde::Serialize;

use crate::error::parameter;
use crate::render::{self, Table, milliseconds};
use crate::statistics::ratio;
use crate::{
    Answer, Client, Completion, LoadError, Observer, Progress, Prompts, Quantiles, Target, TokenIds,
};

/// Pairs of requests, one after the other: a prefix nobody has seen, then the same prefix with another ending.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// Tokens the two share.
    pub prefix: usize,
    /// Tokens each has after that.
    pub suffix: usize,
    /// How many pairs, each with a prefix of its own.
    pub pairs: usize,
    /// What prompts are made of.
    pub token_ids: TokenIds,
    /// What prompts follow from.
    pub seed: u64,
}

impl Default for Prefix {
    /// 5 pairs of 1000 shared tokens and 16 others.
    fn default() -> Self {
        Self { prefix: 1000, suffix: 16, pairs: 5, token_ids: TokenIds::default(), seed: 0 }
    }
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefixPair {
    /// Seconds to the first token with a new prefix.
    pub first: f64,
    /// Seconds to the first token with a known one.
    pub second: f64,
    /// Tokens of the first prompt that the server had already; `None` if it does not say.
    pub first_cached: Option<u64>,
    /// The same of the second prompt.
    pub second_cached: Option<u64>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefixReport {
    /// The server.
    pub url: String,
    /// The model.
    pub model: String,
    /// Tokens each pair shared.
    pub prefix: usize,
    /// Tokens each request had after that.
    pub suffix: usize,
    /// The pairs.
    pub pairs: Vec<PrefixPair>,
    /// The median time of the second requests by that of the first.
    pub ratio: f64,
}

/// Measures the time to the first token with a new and with a known prefix.
///
/// # Errors
/// [`LoadError`] for parameters that make no sense, a server that does not answer, and a request that fails.
pub fn prefix(
    target: &Target,
    load: &Prefix,
    observer: Observer<'_>,
) -> Result<PrefixReport, LoadError> {
    if load.prefix == 0 || load.suffix == 0 || load.pairs == 0 {
        let value = format!("{}, {} and {}", load.prefix, load.suffix, load.pairs);
        return Err(parameter("prefix, suffix and number of pairs", value, "at least 1 of each"));
    }
    let prompts = Prompts::new(load.seed, load.token_ids)?;
    let client = Client::connect(target)?;
    let mut pairs = Vec::new();
    // The first pair warms up the server.
    for number in 0..=load.pairs {
        observer(Progress { label: "pairs", done: number, total: load.pairs.saturating_add(1) });
        let mut random = prompts.random(0, number);
        let shared = prompts.tokens(&mut random, load.prefix);
        let mut ask = || {
            let mut prompt = shared.clone();
            prompt.extend(prompts.tokens(&mut random, load.suffix));
            ask(&client, prompt)
        };
        let (first, first_cached) = ask()?;
        let (second, second_cached) = ask()?;
        if number > 0 {
            pairs.push(PrefixPair { first, second, first_cached, second_cached });
        }
    }
    let median = |time: fn(&PrefixPair) -> f64| Quantiles::of(pairs.iter().map(time).collect()).p50;
    let ratio = ratio(median(|pair| pair.second), median(|pair| pair.first));
    Ok(PrefixReport {
        url: target.url.clone(),
        model: client.model().to_owned(),
        prefix: load.prefix,
        suffix: load.suffix,
        pairs,
        ratio,
    })
}

/// Seconds to the first piece of text, and the cached tokens.
fn ask(client: &Client, prompt: Vec<u32>) -> Result<(f64, Option<u64>), LoadError> {
    let failed = |first: String| LoadError::NothingMeasured {
        what: "a shared prefix".to_owned(),
        requests: 1,
        first,
    };
    // Some tokens are no whole characters: the first piece of text comes within a few.
    let answer: Answer =
        client.complete(&Completion::new(prompt, 4)).map_err(|error| failed(error.to_string()))?;
    let time = answer
        .time_to_first_token()
        .ok_or_else(|| failed("the answer holds no text".to_owned()))?;
    Ok((time, answer.usage.and_then(|usage| usage.cached)))
}

impl PrefixReport {
    /// As JSON: the fields of this struct.
    pub fn json(&self) -> String {
        render::json(self)
    }

    /// As a Markdown table and a sentence.
    pub fn markdown(&self) -> String {
        format!("{}\n{}", self.rows().markdown(), self.sentence())
    }

    /// As a table for a terminal and a sentence.
    pub fn table(&self) -> String {
        format!("{}{}", self.rows().plain(), self.sentence())
    }

    fn sentence(&self) -> String {
        format!(
            "{} shared tokens: the second first token takes {:.1} % of the first's time (medians).\n",
            self.prefix,
            self.ratio * 100.0
        )
    }

    fn rows(&self) -> Table {
        let cached = |cached: Option<u64>| cached.map_or("?".to_owned(), |count| count.to_string());
        let row = |pair: &PrefixPair| {
            vec![
                milliseconds(pair.first),
                cached(pair.first_cached),
                milliseconds(pair.second),
                cached(pair.second_cached),
            ]
        };
        Table {
            header: vec!["new prefix, ms", "cached tokens", "known prefix, ms", "cached tokens"],
            rows: self.pairs.iter().map(row).collect(),
        }
    }
}
