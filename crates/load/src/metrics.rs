//! What a server says about itself at `/metrics`, in Prometheus' text format (version 0.0.4).

use serde::Serialize;

/// The samples of one reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    /// What stands between the braces.
    value: f64,
}

impl Metrics {
    /// Reads the text; comments and lines that are no samples are passed over.
    pub fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(sample).collect() }
    }

    /// The sum of a metric over all labels; `None` if there is no such metric.
    pub fn total(&self, name: &str) -> Option<f64> {
        self.sum(|sample| sample.name == name)
    }

    fn sum(&self, wanted: impl Fn(&Sample) -> bool) -> Option<f64> {
        self.samples
            .iter()
            .filter(|sample| wanted(sample))
            .map(|sample| sample.value)
            .reduce(|sum, value| sum + value)
    }
}

/// `name{label="value",…} value [time]`.
fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = match line.split_once('{') {
        Some((name, rest)) => (name, rest.rsplit_once('}')?.1),
        None => line.split_once(char::is_whitespace)?,
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), value })
}

/// What must return to rest when no request is left. `None`: the server does not offer it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gauges {
    /// `…_num_requests_running`.
    pub running: Option<f64>,
    /// `…_num_requests_waiting`.
    pub waiting: Option<f64>,
    /// `…_kv_cache_blocks_owned`: blocks of running sequences.
    pub owned_blocks: Option<f64>,
    /// `…_kv_cache_blocks`: all of them.
    pub blocks: Option<f64>,
}

impl Gauges {
    /// The gauges of a reading whose metrics have a prefix, such as `stablemate_`.
    pub fn of(metrics: &Metrics, prefix: &str) -> Self {
        Self {
            running: metrics.total(&format!("{prefix}num_requests_running")),
            waiting: metrics.total(&format!("{prefix}num_requests_waiting")),
            owned_blocks: metrics.total(&format!("{prefix}kv_cache_blocks_owned")),
            blocks: metrics.total(&format!("{prefix}kv_cache_blocks")),
        }
    }

    /// Whether nothing runs, nothing waits and nothing is owned, as far as the server says.
    pub fn at_rest(&self) -> bool {
        [self.running, self.waiting, self.owned_blocks].iter().flatten().all(|value| *value == 0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# HELP stablemate_num_requests_running Running.\n\
        # TYPE stablemate_num_requests_running gauge\n\
        stablemate_num_requests_running{model=\"a{b}\"} 2\n\
        stablemate_num_requests_waiting 0\n\
        stablemate_kv_cache_blocks_owned{model=\"x\"} 3 1700000000\n\
        stablemate_kv_cache_blocks{model=\"x\"} 4\n\
        stablemate_kv_cache_blocks{model=\"y\"} 1.3e1\n\
        not a sample\n";

    #[test]
    fn gauges_are_found() {
        let gauges = Gauges::of(&Metrics::parse(TEXT), "stablemate_");
        let expected = Gauges {
            running: Some(2.0),
            waiting: Some(0.0),
            owned_blocks: Some(3.0),
            blocks: Some(17.0),
        };
        assert_eq!(gauges, expected);
        assert!(!gauges.at_rest());
        assert!(Gauges { running: Some(0.0), ..Gauges::default() }.at_rest());
    }

    #[test]
    fn what_is_not_offered_is_absent() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(Gauges::of(&metrics, "other_"), Gauges::default());
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            Metrics::parse(&text);
        }
    }
}
