//! Many requests of random lengths whose clients leave at random: nothing may leak, and every answer must be what
//! it is alone.

mod memory;
mod report;

use std::time::{Duration, Instant};

use crate::error::parameter;
use crate::prompts::Random;
use crate::sweep::{Failures, closed_loop};
use crate::{
    Answer, Client, Completion, Departure, Failure, Gauges, Lengths, LoadError, Observer, Progress,
    Prompts, Target, TokenIds,
};

pub use memory::Memory;
use memory::Watch;
pub use report::{Difference, SoakReport};

/// The load.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Requests in all.
    pub requests: usize,
    /// Clients at a time.
    pub concurrency: usize,
    /// Lengths of the prompts.
    pub prompt: Lengths,
    /// Lengths of the answers.
    pub output: Lengths,
    /// The share of requests whose clients leave early, 0 to 1: half of them after some pieces of text, half at
    /// any moment, during the prompt's processing too.
    pub departures: f64,
    /// The longest that a client which leaves at any moment stays.
    pub longest_stay: Duration,
    /// How many complete answers are asked for again, one at a time at the end, and compared.
    pub samples: usize,
    /// What the server's metrics begin with.
    pub metrics_prefix: String,
    /// How long the server may take to come to rest at the end.
    pub settle: Duration,
    /// The server's process on this machine, to watch its memory.
    pub process: Option<u32>,
    /// The growth of its resident memory after the first fifth of the requests that is not yet called a leak,
    /// in bytes.
    pub memory_growth: u64,
    /// What prompts are made of.
    pub token_ids: TokenIds,
    /// What everything random follows from.
    pub seed: u64,
}

impl Default for Soak {
    /// 2000 requests by 16 clients, of which 4 in 10 leave.
    fn default() -> Self {
        Self {
            requests: 2000,
            concurrency: 16,
            prompt: Lengths { lowest: 1, highest: 600 },
            output: Lengths { lowest: 1, highest: 96 },
            departures: 0.4,
            longest_stay: Duration::from_secs(2),
            samples: 100,
            metrics_prefix: "stablemate_".to_owned(),
            settle: Duration::from_secs(10),
            process: None,
            memory_growth: 32 << 20,
            token_ids: TokenIds::default(),
            seed: 0,
        }
    }
}

/// Puts the load on a server. What the server did wrong stands in [`SoakReport::faults`].
///
/// # Errors
/// [`LoadError`] for parameters that make no sense, and for a server that does not answer at all.
pub fn soak(target: &Target, load: &Soak, observer: Observer<'_>) -> Result<SoakReport, LoadError> {
    load.prompt.check("the length of prompts")?;
    load.output.check("the length of answers")?;
    if load.concurrency == 0 || load.requests == 0 {
        let value = format!("{} and {}", load.concurrency, load.requests);
        return Err(parameter("concurrency and requests", value, "at least 1 of each"));
    }
    if !(0.0..=1.0).contains(&load.departures) {
        return Err(parameter("the share of departures", load.departures, "between 0 and 1"));
    }
    let prompts = Prompts::new(load.seed, load.token_ids)?;
    let client = Client::connect(target)?;
    let watch = load.process.map(Watch::new).transpose()?;
    let gauges = || client.metrics().ok().map(|metrics| Gauges::of(&metrics, &load.metrics_prefix));
    let before = gauges();

    let requests: Vec<Completion> = (0..load.requests)
        .map(|number| request(load, &prompts, &mut prompts.random(0, number)))
        .collect();
    let begin = Instant::now();
    let warm = load.requests / 5;
    let outcomes = closed_loop(&client, &requests, load.concurrency, |done| {
        if let Some(watch) = &watch {
            watch.look(done > warm);
        }
        observer(Progress { label: "requests", done, total: load.requests });
    });
    let seconds = begin.elapsed().as_secs_f64();
    let after = settle(load, gauges);
    let (compared, differences) = compare(&client, load, &requests, &outcomes, observer);
    let memory = watch.map(|watch| watch.finish());

    let failures = Failures::of(&outcomes);
    Ok(SoakReport {
        url: target.url.clone(),
        model: client.model().to_owned(),
        seed: load.seed,
        requests: load.requests,
        completed: outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        left: failures.left,
        failures: failures.kinds,
        first_failure: failures.first,
        seconds,
        output_tokens: outcomes.iter().flatten().map(Answer::output_tokens).sum(),
        before,
        after,
        compared,
        differences,
        memory,
        memory_growth_allowed: load.memory_growth,
    })
}

fn request(load: &Soak, prompts: &Prompts, random: &mut Random) -> Completion {
    let length = random.length(load.prompt);
    let tokens = random.length(load.output);
    let mut completion = Completion::new(prompts.tokens(random, length), tokens);
    completion.stream = random.below(4) > 0;
    if random.below(2) == 0 {
        completion.temperature = 0.8;
        completion.seed = random.below(1 << 31);
    }
    if random.fraction() < load.departures {
        completion.departure = if completion.stream && random.below(2) == 0 {
            Departure::AfterPieces(random.length(Lengths { lowest: 1, highest: tokens.max(1) }))
        } else {
            Departure::After(load.longest_stay.mul_f64(random.fraction()))
        };
    }
    completion
}

/// The gauges once nothing runs any more, or when the time is up; `None` if there are none.
fn settle(load: &Soak, gauges: impl Fn() -> Option<Gauges>) -> Option<Gauges> {
    let begin = Instant::now();
    loop {
        let now = gauges()?;
        if now.at_rest() || begin.elapsed() >= load.settle {
            return Some(now);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks again for some of the answers, one at a time; how many, and those that came out otherwise.
fn compare(
    client: &Client,
    load: &Soak,
    requests: &[Completion],
    outcomes: &[Result<Answer, Failure>],
    observer: Observer<'_>,
) -> (usize, Vec<Difference>) {
    let complete: Vec<(usize, &Completion, &Answer)> = requests
        .iter()
        .zip(outcomes)
        .enumerate()
        .filter_map(|(number, (request, outcome))| Some((number, request, outcome.as_ref().ok()?)))
        .collect();
    let total = load.samples.min(complete.len());
    let mut differences = Vec::new();
    for sample in 0..total {
        observer(Progress { label: "answers compared", done: sample, total });
        // Evenly over the whole run.
        let place = sample.saturating_mul(complete.len()).checked_div(total).unwrap_or_default();
        let Some((number, request, answer)) = complete.get(place) else { continue };
        let mut again = (*request).clone();
        again.departure = Departure::Never;
        let alone = match client.complete(&again) {
            Ok(again) if again.text == answer.text => continue,
            Ok(again) => again.text,
            Err(failure) => failure.to_string(),
        };
        differences.push(Difference {
            request: *number,
            temperature: request.temperature,
            among_others: answer.text.clone(),
            alone,
        });
    }
    (total, differences)
}
