//! Do running streams keep their pace while long prompts arrive?

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::error::parameter;
use crate::render::{self, Table, milliseconds};
use crate::statistics::ratio;
use crate::{
    Answer, Client, Completion, Failure, Lengths, LoadError, Observer, Progress, Prompts,
    Quantiles, Target, TokenIds,
};

/// The same streams twice: alone, and while newcomers with long prompts keep arriving.
#[derive(Clone, Debug)]
pub struct Steady {
    /// Streams whose pace is watched.
    pub streams: usize,
    /// Lengths of their prompts.
    pub prompt: Lengths,
    /// Tokens each of them generates; enough for several newcomers to arrive.
    pub output: usize,
    /// Newcomers at a time. The server must be able to run these and the streams together.
    pub newcomers: usize,
    /// Lengths of the newcomers' prompts; each generates one token.
    pub newcomer_prompt: Lengths,
    /// What prompts are made of.
    pub token_ids: TokenIds,
    /// What prompts and lengths follow from.
    pub seed: u64,
}

impl Default for Steady {
    /// 8 streams of 256 tokens each, one newcomer at a time with 1000 tokens.
    fn default() -> Self {
        Self {
            streams: 8,
            prompt: Lengths::exactly(32),
            output: 256,
            newcomers: 1,
            newcomer_prompt: Lengths::exactly(1000),
            token_ids: TokenIds::default(),
            seed: 0,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SteadyReport {
    /// The server.
    pub url: String,
    /// The model.
    pub model: String,
    /// Streams whose pace was watched.
    pub streams: usize,
    /// Seconds between pieces of text, over all streams, while all of them ran and nobody else.
    pub unloaded: Quantiles,
    /// The same while newcomers arrived.
    pub loaded: Quantiles,
    /// `loaded.p95 / unloaded.p95`.
    pub ratio_of_p95: f64,
    /// Newcomers answered while all streams ran.
    pub newcomers: usize,
    /// Tokens of their prompts.
    pub newcomer_tokens: u64,
    /// Seconds from sending to the first piece of text, of these newcomers.
    pub newcomer_time_to_first_token: Quantiles,
}

/// Measures the pace of streams alone and beside arriving prompts. Only gaps between the moment when the last stream has begun
/// and the moment when the first one ends count.
///
/// # Errors
/// [`LoadError`] for parameters that make no sense, a server that does not answer, and when a stream fails or no
/// newcomer was answered in time.
pub fn steady(
    target: &Target,
    load: &Steady,
    observer: Observer<'_>,
) -> Result<SteadyReport, LoadError> {
    load.prompt.check("the length of prompts")?;
    load.newcomer_prompt.check("the length of newcomers' prompts")?;
    if load.streams == 0 || load.newcomers == 0 {
        let value = format!("{} and {}", load.streams, load.newcomers);
        return Err(parameter("the number of streams and newcomers", value, "at least 1 of each"));
    }
    if load.output < 8 {
        return Err(parameter("the length of answers", load.output, "at least 8 tokens"));
    }
    let prompts = Prompts::new(load.seed, load.token_ids)?;
    let client = Client::connect(target)?;

    let phase = |load: &Steady, number: usize, newcomers: usize, label: &str| {
        observer(Progress { label, done: number, total: 3 });
        run(&client, load, &prompts, number as u64, newcomers)
    };
    // A few tokens are enough to have the server make what it makes only once.
    let short = Steady { output: 8, ..load.clone() };
    phase(&short, 0, load.newcomers, "warm-up")?;
    let unloaded = watched(load, phase(load, 1, 0, "streams alone")?)?;
    let loaded = watched(load, phase(load, 2, load.newcomers, "streams beside newcomers")?)?;
    if loaded.newcomers.is_empty() {
        return Err(LoadError::NothingMeasured {
            what: "newcomers beside running streams".to_owned(),
            requests: loaded.attempts,
            first: loaded
                .failure
                .unwrap_or_else(|| "all streams had ended before it was answered".to_owned()),
        });
    }
    let (unloaded, quantiles) = (Quantiles::of(unloaded.gaps), Quantiles::of(loaded.gaps));
    Ok(SteadyReport {
        url: target.url.clone(),
        model: client.model().to_owned(),
        streams: load.streams,
        unloaded,
        loaded: quantiles,
        ratio_of_p95: ratio(quantiles.p95, unloaded.p95),
        newcomers: loaded.newcomers.len(),
        newcomer_tokens: loaded.newcomers.iter().map(|(tokens, _)| *tokens as u64).sum(),
        newcomer_time_to_first_token: Quantiles::of(
            loaded
                .newcomers
                .iter()
                .filter_map(|(_, answer)| answer.time_to_first_token())
                .collect(),
        ),
    })
}

/// A newcomer: the length of its prompt, and its answer.
type Visit = (usize, Result<Answer, Failure>);

/// What one phase saw while all streams ran.
struct Phase {
    gaps: Vec<f64>,
    newcomers: Vec<(usize, Answer)>,
    attempts: usize,
    failure: Option<String>,
}

/// All streams at once, newcomers beside them until the first stream has ended.
fn run(
    client: &Client,
    load: &Steady,
    prompts: &Prompts,
    phase: u64,
    newcomers: usize,
) -> Result<(Vec<Answer>, Vec<Visit>), LoadError> {
    let over = AtomicBool::new(false);
    let arrivals = AtomicUsize::new(0);
    let (streams, guests) = std::thread::scope(|scope| {
        let streams: Vec<_> = (0..load.streams)
            .map(|number| {
                let over = &over;
                scope.spawn(move || {
                    let mut random = prompts.random(phase, number);
                    let length = random.length(load.prompt);
                    let prompt = prompts.tokens(&mut random, length);
                    let outcome = client.complete(&Completion::new(prompt, load.output));
                    over.store(true, Ordering::Relaxed);
                    outcome
                })
            })
            .collect();
        let guests: Vec<_> = (0..newcomers)
            .map(|_| scope.spawn(|| visit(client, load, prompts, phase, &over, &arrivals)))
            .collect();
        let streams: Vec<_> =
            streams.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let guests: Vec<_> =
            guests.into_iter().filter_map(|guest| guest.join().ok()).flatten().collect();
        (streams, guests)
    });
    let mut answers = Vec::new();
    for outcome in streams {
        match outcome {
            Ok(Ok(answer)) => answers.push(answer),
            Ok(Err(failure)) => return Err(failed(load, &failure.to_string())),
            Err(_) => return Err(failed(load, "a client ended unexpectedly")),
        }
    }
    Ok((answers, guests))
}

/// What of a run happened while all streams ran.
fn watched(
    load: &Steady,
    (answers, visits): (Vec<Answer>, Vec<Visit>),
) -> Result<Phase, LoadError> {
    let window = window(&answers)
        .ok_or_else(|| failed(load, "a stream had ended before the last one began"))?;
    let failure = visits.iter().find_map(|(_, outcome)| Some(outcome.as_ref().err()?.to_string()));
    let attempts = visits.len();
    let inside = |answer: &Answer| answer.finished > window.0 && answer.sent < window.1;
    let newcomers = visits
        .into_iter()
        .filter_map(|(tokens, outcome)| Some((tokens, outcome.ok().filter(inside)?)))
        .collect();
    Ok(Phase { gaps: gaps(&answers, window), newcomers, attempts, failure })
}

fn failed(load: &Steady, first: &str) -> LoadError {
    LoadError::NothingMeasured {
        what: "running streams".to_owned(),
        requests: load.streams,
        first: first.to_owned(),
    }
}

/// One newcomer after another until a stream has ended.
fn visit(
    client: &Client,
    load: &Steady,
    prompts: &Prompts,
    phase: u64,
    over: &AtomicBool,
    arrivals: &AtomicUsize,
) -> Vec<Visit> {
    let mut visits = Vec::new();
    while !over.load(Ordering::Relaxed) {
        // The numbers after the streams' own.
        let number = load.streams.saturating_add(arrivals.fetch_add(1, Ordering::Relaxed));
        let mut random = prompts.random(phase, number);
        let length = random.length(load.newcomer_prompt);
        let prompt = prompts.tokens(&mut random, length);
        let outcome = client.complete(&Completion::new(prompt, 1));
        let failed = outcome.is_err();
        visits.push((length, outcome));
        if failed {
            return visits;
        }
    }
    visits
}

/// From when the last stream has begun until the first one ends.
fn window(answers: &[Answer]) -> Option<(Instant, Instant)> {
    let begin = answers.iter().map(|answer| answer.pieces.first()).max()??;
    let end = answers.iter().map(|answer| answer.pieces.last()).min()??;
    (begin < end).then_some((*begin, *end))
}

fn gaps(answers: &[Answer], (begin, end): (Instant, Instant)) -> Vec<f64> {
    let pairs =
        answers.iter().flat_map(|answer| answer.pieces.iter().zip(answer.pieces.iter().skip(1)));
    pairs
        .filter(|(first, second)| **first >= begin && **second <= end)
        .map(|(first, second)| (*second - *first).as_secs_f64())
        .collect()
}

impl SteadyReport {
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
            "p95 beside newcomers / p95 alone = {:.2}; {} newcomers with {} tokens, first token after {} ms (p50).\n",
            self.ratio_of_p95,
            self.newcomers,
            self.newcomer_tokens,
            milliseconds(self.newcomer_time_to_first_token.p50)
        )
    }

    fn rows(&self) -> Table {
        let row = |name: &str, quantiles: &Quantiles| {
            let times = [quantiles.p50, quantiles.p95, quantiles.p99, quantiles.highest];
            let mut cells = vec![format!("{} streams {name}", self.streams)];
            cells.extend(times.map(milliseconds));
            cells
        };
        Table {
            header: vec!["", "between tokens p50, ms", "p95", "p99", "longest"],
            rows: vec![row("alone", &self.unloaded), row("beside newcomers", &self.loaded)],
        }
    }
}
