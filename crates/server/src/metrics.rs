//! What the server counts, in Prometheus' text format. Names and buckets are vLLM's (`vllm/v1/metrics/loggers.py`),
//! with a prefix of our own.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::options::Loaded;
use crate::wire::Ignored;

const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const INTER_TOKEN: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    requests: Arc<Requests>,
    http: Family<Http, Counter>,
    ignored: Ignored,
}

/// What is counted of the sequences.
pub(crate) struct Requests {
    queue: Histogram,
    first_token: Histogram,
    inter_token: Histogram,
    latency: Histogram,
    finished: Family<Finished, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Http {
    method: String,
    path: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finished {
    finished_reason: String,
}

impl Metrics {
    pub(crate) fn new(loaded: Arc<OnceLock<Loaded>>) -> Self {
        let requests = Arc::new(Requests {
            queue: Histogram::new(REQUEST),
            first_token: Histogram::new(FIRST_TOKEN),
            inter_token: Histogram::new(INTER_TOKEN),
            latency: Histogram::new(REQUEST),
            finished: Family::default(),
        });
        let http = Family::<Http, Counter>::default();
        let mut registry = Registry::with_prefix("stablemate");
        for (name, help, histogram) in [
            (
                "request_queue_time_seconds",
                "Time a sequence waits for its first step",
                &requests.queue,
            ),
            (
                "time_to_first_token_seconds",
                "Time from a sequence's arrival to its first token",
                &requests.first_token,
            ),
            (
                "inter_token_latency_seconds",
                "Time between a sequence's tokens",
                &requests.inter_token,
            ),
            (
                "e2e_request_latency_seconds",
                "Time from a sequence's arrival to its end",
                &requests.latency,
            ),
        ] {
            registry.register(name, help, histogram.clone());
        }
        registry.register(
            "request_success",
            "Sequences that ended, by why",
            requests.finished.clone(),
        );
        registry.register("http_requests", "Requests answered", http.clone());
        let ignored = Ignored::default();
        registry.register(
            "fields_without_effect",
            "Fields of requests that were taken and left alone",
            ignored.counts(),
        );
        registry.register_collector(Box::new(Engine { loaded }));
        Self { registry, requests, http, ignored }
    }

    /// The fields without effect.
    pub(crate) fn ignored(&self) -> &Ignored {
        &self.ignored
    }

    pub(crate) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// Counts an answered request; `path` is the route's, not what the client wrote.
    pub(crate) fn answered(&self, method: &str, path: &str, status: u16) {
        let labels = Http { method: method.to_owned(), path: path.to_owned(), status };
        self.http.get_or_create(&labels).inc();
    }

    /// Everything, in OpenMetrics' text format, which is Prometheus' with an end.
    ///
    /// # Errors
    /// Never in practice: a string can always be written to.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Requests {
    pub(crate) fn admitted(&self, waited: Duration) {
        self.queue.observe(waited.as_secs_f64());
    }

    pub(crate) fn first_token(&self, after: Duration) {
        self.first_token.observe(after.as_secs_f64());
    }

    pub(crate) fn next_token(&self, after: Duration) {
        self.inter_token.observe(after.as_secs_f64());
    }

    pub(crate) fn finished(&self, reason: &str, after: Duration) {
        self.latency.observe(after.as_secs_f64());
        let labels = Finished { finished_reason: reason.to_owned() };
        self.finished.get_or_create(&labels).inc();
    }
}

/// The engine's own numbers, read when they are asked for.
struct Engine {
    loaded: Arc<OnceLock<Loaded>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Collector for Engine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(loaded) = self.loaded.get() else { return Ok(()) };
        let now = loaded.served.engine.statistics();
        let share = now.blocks_owned as f64 / now.blocks.max(1) as f64;
        for (name, help, value) in [
            ("num_requests_running", "Sequences that run", now.running as f64),
            ("num_requests_waiting", "Sequences that wait", now.waiting as f64),
            (
                "kv_cache_usage_perc",
                "Share of the cache's blocks that running sequences own; 1 is all",
                share,
            ),
            ("kv_cache_blocks", "Blocks of the cache", now.blocks as f64),
            ("kv_cache_blocks_owned", "Blocks that running sequences own", now.blocks_owned as f64),
            (
                "kv_cache_blocks_cached",
                "Free blocks that prompts may find",
                now.blocks_cached as f64,
            ),
            ("state_slots", "Slots of per-sequence state", now.slots as f64),
            ("state_slots_owned", "Slots that running sequences own", now.slots_owned as f64),
            (
                "state_snapshots",
                "Slots that hold snapshots, from which prompts may continue",
                now.snapshots as f64,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in [
            ("prompt_tokens", "Tokens of prompts that were computed", now.prompt_tokens),
            ("generation_tokens", "Tokens that were chosen", now.generated_tokens),
            (
                "prefix_cache_queries",
                "Tokens of prompts looked up in the cache",
                now.prefix_queries,
            ),
            ("prefix_cache_hits", "Tokens of prompts found in the cache", now.prefix_hits),
            (
                "state_snapshot_hits",
                "Sequences that continued from a snapshot of per-sequence state",
                now.snapshot_hits,
            ),
            (
                "num_preemptions",
                "Sequences whose blocks were taken away for a while",
                now.preemptions,
            ),
            ("admission_rejections", "Sequences refused because too many waited", now.refused),
            ("cancelled_requests", "Sequences dropped because nobody listened", now.cancelled),
            ("engine_steps", "Steps of the model", now.steps),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}
