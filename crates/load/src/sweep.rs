//! Throughput and latency by number of clients.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::error::parameter;
use crate::prompts::Random;
use crate::render::{self, Table, milliseconds};
use crate::statistics::ratio;
use crate::{
    Answer, Client, Completion, Failure, Lengths, LoadError, Observer, Progress, Prompts,
    Quantiles, Target, TokenIds,
};

/// A closed loop at each of several concurrencies: so many clients, each sending its next request when it has the
/// answer to the last.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The numbers of clients, one level each.
    pub concurrencies: Vec<usize>,
    /// Requests per client at each level.
    pub requests_per_client: usize,
    /// Requests before each level that are not measured, by as many clients as the level has.
    pub warm_up: usize,
    /// Lengths of the prompts, the shared prefix not counted.
    pub prompt: Lengths,
    /// Lengths of the answers.
    pub output: Lengths,
    /// Tokens that all prompts of the sweep begin with.
    pub prefix: usize,
    /// What prompts are made of.
    pub token_ids: TokenIds,
    /// What prompts and lengths follow from.
    pub seed: u64,
}

impl Default for Sweep {
    /// 1, 2, 4, 8 and 16 clients; prompts of 16 to 1500 tokens, answers of 128.
    fn default() -> Self {
        Self {
            concurrencies: vec![1, 2, 4, 8, 16],
            requests_per_client: 4,
            warm_up: 2,
            prompt: Lengths { lowest: 16, highest: 1500 },
            output: Lengths::exactly(128),
            prefix: 0,
            token_ids: TokenIds::default(),
            seed: 0,
        }
    }
}

/// What was measured at one concurrency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Level {
    /// How many clients.
    pub concurrency: usize,
    /// Requests that were sent.
    pub requests: usize,
    /// Requests that were answered completely.
    pub completed: usize,
    /// The others, by status or kind.
    pub failures: BTreeMap<String, usize>,
    /// The first failure in words.
    pub first_failure: Option<String>,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Tokens of the prompts that were answered.
    pub prompt_tokens: u64,
    /// Of these, those the server had already.
    pub cached_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// Answers shorter than wanted.
    pub short_answers: usize,
    /// Answers whose tokens had to be counted by their pieces, because no usage came.
    pub without_usage: usize,
    /// All clients together.
    pub output_tokens_per_second: f64,
    /// All clients together.
    pub prompt_tokens_per_second: f64,
    /// All clients together.
    pub requests_per_second: f64,
    /// Seconds from sending to the first piece of text.
    pub time_to_first_token: Quantiles,
    /// Seconds between pieces of text, over all streams.
    pub inter_token_latency: Quantiles,
    /// Seconds from sending to the end.
    pub request_seconds: Quantiles,
}

/// What a sweep measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepReport {
    /// The server.
    pub url: String,
    /// The model.
    pub model: String,
    /// What prompts followed from.
    pub seed: u64,
    /// Lengths of the prompts, the shared prefix not counted.
    pub prompt: Lengths,
    /// Lengths of the answers.
    pub output: Lengths,
    /// Tokens that all prompts began with.
    pub prefix: usize,
    /// One per concurrency.
    pub levels: Vec<Level>,
}

/// Measures a server at each concurrency.
///
/// # Errors
/// [`LoadError`] for parameters that make no sense, for a server that does not answer, and for a level of which
/// not one request was answered. Single failures are counted in the level.
pub fn sweep(
    target: &Target,
    load: &Sweep,
    observer: Observer<'_>,
) -> Result<SweepReport, LoadError> {
    load.prompt.check("the length of prompts")?;
    load.output.check("the length of answers")?;
    for (name, value) in [
        ("concurrency", load.concurrencies.iter().min().copied().unwrap_or(0)),
        ("requests per client", load.requests_per_client),
    ] {
        if value == 0 {
            return Err(parameter(name, value, "at least 1 is needed"));
        }
    }
    let prompts = Prompts::new(load.seed, load.token_ids)?;
    let client = Client::connect(target)?;
    let mut levels = Vec::new();
    for &concurrency in &load.concurrencies {
        levels.push(level(&client, load, &prompts, concurrency, observer)?);
    }
    Ok(SweepReport {
        url: target.url.clone(),
        model: client.model().to_owned(),
        seed: load.seed,
        prompt: load.prompt,
        output: load.output,
        prefix: load.prefix,
        levels,
    })
}

fn level(
    client: &Client,
    load: &Sweep,
    prompts: &Prompts,
    concurrency: usize,
    observer: Observer<'_>,
) -> Result<Level, LoadError> {
    let request = |number: usize| {
        let prefix = prompts.tokens(&mut prompts.random(u64::MAX, 0), load.prefix);
        request(load, prompts, prefix, &mut prompts.random(concurrency as u64, number))
    };
    let label = format!("{concurrency} clients");
    let warm_up: Vec<Completion> = (0..load.warm_up).map(request).collect();
    closed_loop(client, &warm_up, concurrency, |_| {});

    let total = load.requests_per_client.saturating_mul(concurrency);
    let requests: Vec<Completion> =
        (0..total).map(|number| request(load.warm_up.saturating_add(number))).collect();
    let begin = Instant::now();
    let outcomes = closed_loop(client, &requests, concurrency, |done| {
        observer(Progress { label: &label, done, total });
    });
    let level = summary(concurrency, &requests, &outcomes, begin);
    if level.completed == 0 {
        return Err(LoadError::NothingMeasured {
            what: label,
            requests: total,
            first: level.first_failure.unwrap_or_default(),
        });
    }
    Ok(level)
}

fn request(load: &Sweep, prompts: &Prompts, prefix: Vec<u32>, random: &mut Random) -> Completion {
    let mut prompt = prefix;
    let length = random.length(load.prompt);
    let tokens = random.length(load.output);
    prompt.extend(prompts.tokens(random, length));
    Completion::new(prompt, tokens)
}

/// Sends requests from so many threads, each taking the next when it is done with one; outcomes in the order of
/// the requests.
pub(crate) fn closed_loop(
    client: &Client,
    requests: &[Completion],
    concurrency: usize,
    done: impl Fn(usize) + Sync,
) -> Vec<Result<Answer, Failure>> {
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(requests.len()));
    std::thread::scope(|scope| {
        for _ in 0..concurrency.min(requests.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = requests.get(number) else { return };
                    let outcome = client.complete(request);
                    // A poisoned list still holds what others measured.
                    outcomes
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((number, outcome));
                    done(finished.fetch_add(1, Ordering::Relaxed).saturating_add(1));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// What went wrong with requests.
#[derive(Default)]
pub(crate) struct Failures {
    /// Clients that left as they meant to; not among the kinds.
    pub left: usize,
    /// The others by status or kind.
    pub kinds: BTreeMap<String, usize>,
    /// The first of these in words.
    pub first: Option<String>,
}

impl Failures {
    pub fn of(outcomes: &[Result<Answer, Failure>]) -> Self {
        let mut failures = Self::default();
        for failure in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            if *failure == Failure::Left {
                failures.left += 1;
            } else {
                *failures.kinds.entry(failure.kind()).or_insert(0) += 1;
                failures.first.get_or_insert_with(|| failure.to_string());
            }
        }
        failures
    }
}

fn summary(
    concurrency: usize,
    requests: &[Completion],
    outcomes: &[Result<Answer, Failure>],
    begin: Instant,
) -> Level {
    let pairs: Vec<(&Completion, &Answer)> = requests
        .iter()
        .zip(outcomes)
        .filter_map(|(request, outcome)| Some((request, outcome.as_ref().ok()?)))
        .collect();
    let answers = || pairs.iter().map(|(_, answer)| *answer);
    let failures = Failures::of(outcomes);
    let end = answers().map(|answer| answer.finished).max().unwrap_or(begin);
    let seconds = (end - begin).as_secs_f64();
    let usage = || answers().filter_map(|answer| answer.usage);
    let prompt_tokens = pairs
        .iter()
        .map(|(request, answer)| {
            answer.usage.map_or(request.prompt.len() as u64, |usage| usage.prompt)
        })
        .sum();
    let output_tokens = answers().map(Answer::output_tokens).sum();
    Level {
        concurrency,
        requests: requests.len(),
        completed: pairs.len(),
        failures: failures.kinds,
        first_failure: failures.first,
        seconds,
        prompt_tokens,
        cached_tokens: usage().filter_map(|usage| usage.cached).sum(),
        output_tokens,
        short_answers: pairs
            .iter()
            .filter(|(request, answer)| answer.output_tokens() < request.tokens as u64)
            .count(),
        without_usage: answers().filter(|answer| answer.usage.is_none()).count(),
        output_tokens_per_second: ratio(output_tokens as f64, seconds),
        prompt_tokens_per_second: ratio(prompt_tokens as f64, seconds),
        requests_per_second: ratio(pairs.len() as f64, seconds),
        time_to_first_token: Quantiles::of(
            answers().filter_map(Answer::time_to_first_token).collect(),
        ),
        inter_token_latency: Quantiles::of(answers().flat_map(Answer::gaps).collect()),
        request_seconds: Quantiles::of(
            answers().map(|answer| (answer.finished - answer.sent).as_secs_f64()).collect(),
        ),
    }
}

impl SweepReport {
    /// As JSON: the fields of this struct.
    pub fn json(&self) -> String {
        render::json(self)
    }

    /// As a Markdown table, one row per level; times in milliseconds.
    pub fn markdown(&self) -> String {
        self.rows().markdown()
    }

    /// As a table for a terminal, one row per level; times in milliseconds. Below it what went wrong.
    pub fn table(&self) -> String {
        let mut text = self.rows().plain();
        for level in &self.levels {
            if let Some(first) = &level.first_failure {
                let kinds: Vec<String> = level
                    .failures
                    .iter()
                    .map(|(kind, count)| format!("{count} × {kind}"))
                    .collect();
                text += &format!(
                    "{} clients: {} of {} requests failed ({}); the first: {first}\n",
                    level.concurrency,
                    level.requests.saturating_sub(level.completed),
                    level.requests,
                    kinds.join(", ")
                );
            }
            if level.short_answers > 0 {
                text += &format!(
                    "{} clients: {} answers were shorter than wanted\n",
                    level.concurrency, level.short_answers
                );
            }
        }
        text
    }

    fn rows(&self) -> Table {
        let row = |level: &Level| {
            let mut cells = vec![
                level.concurrency.to_string(),
                format!("{:.1}", level.output_tokens_per_second),
                format!("{:.1}", level.prompt_tokens_per_second),
                format!("{:.2}", level.requests_per_second),
            ];
            for quantiles in [&level.time_to_first_token, &level.inter_token_latency] {
                cells.extend([quantiles.p50, quantiles.p95, quantiles.p99].map(milliseconds));
            }
            cells.push(level.requests.saturating_sub(level.completed).to_string());
            cells
        };
        Table {
            header: vec![
                "clients",
                "output tokens/s",
                "prompt tokens/s",
                "requests/s",
                "first token p50",
                "p95",
                "p99",
                "between tokens p50",
                "p95",
                "p99",
                "failed",
            ],
            rows: self.levels.iter().map(row).collect(),
        }
    }
}
