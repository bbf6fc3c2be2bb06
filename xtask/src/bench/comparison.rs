//! Measuring all sides in turn, so that what the machine does meanwhile concerns them all.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::machine::{Load, Neighbour, Watch};
use crate::bench::measurement::Measurement;
use crate::bench::session::Session;

/// Between two measurements: threads that wait for work spin some milliseconds before they sleep.
const SETTLING: Duration = Duration::from_millis(50);

/// Tokens per second of one side in one measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// One of each round, in order.
    pub rates: Vec<f64>,
    /// Why there are none.
    pub error: Option<String>,
}

impl Samples {
    /// The middle rate.
    pub fn median(&self) -> Option<f64> {
        median(&self.rates)
    }

    fn to_json(&self) -> Value {
        match &self.error {
            Some(error) => json!({"error": error}),
            None => json!({"tokens_per_second": self.median(), "rounds": self.rates}),
        }
    }
}

/// The middle of some numbers, or of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// A measurement of all sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured.
    pub measurement: Measurement,
    /// Whether a neighbour kept one core busy.
    pub busy: bool,
    /// One of each side.
    pub sides: Vec<Samples>,
}

impl Row {
    /// Its name in the table.
    pub fn label(&self) -> String {
        let label = self.measurement.label();
        if self.busy { format!("{label}, a core busy") } else { label }
    }

    /// For the JSON report.
    pub fn to_json(&self, names: &[String]) -> Value {
        let sides =
            names.iter().zip(&self.sides).map(|(name, samples)| (name.clone(), samples.to_json()));
        json!({
            "measurement": self.measurement.request(),
            "busy_neighbour": self.busy,
            "sides": Value::Object(sides.collect()),
        })
    }
}

/// All sides, loaded.
pub struct Comparison {
    sessions: Vec<Session>,
    /// What else was computed, for each measurement without a neighbour.
    loads: Vec<Load>,
}

impl Comparison {
    /// Begins with these sides.
    pub fn new(sessions: Vec<Session>) -> Self {
        Self { sessions, loads: Vec::new() }
    }

    /// The sides.
    pub fn sessions(&mut self) -> &mut [Session] {
        &mut self.sessions
    }

    /// What else was computed.
    pub fn loads(&self) -> &[Load] {
        &self.loads
    }

    /// One measurement: each side once to warm up, then `rounds` times in turn, the first of a round changing.
    ///
    /// `busy` keeps one core busy meanwhile.
    pub fn run(&mut self, measurement: Measurement, rounds: usize, busy: bool) -> Result<Row> {
        let _neighbour = busy.then(Neighbour::start).transpose()?;
        let count = self.sessions.len();
        let mut sides = vec![Samples::default(); count];
        for (round, turn) in
            (0..=rounds).flat_map(|round| (0..count).map(move |turn| (round, turn)))
        {
            let side = (round + turn) % count;
            if sides[side].error.is_some() {
                continue;
            }
            thread::sleep(SETTLING);
            let watch = Watch::start(self.sessions.iter().map(Session::process));
            let rate = self.sessions[side].measure(measurement)?;
            let load = watch.stop(side);
            match rate {
                Err(error) => sides[side].error = Some(error),
                Ok(_) if round == 0 => {}
                Ok(rate) => {
                    sides[side].rates.push(rate);
                    self.loads.extend((!busy).then_some(load));
                }
            }
        }
        Ok(Row { measurement, busy, sides })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const DECODE: Measurement = Measurement::Decode { tokens: 4, sequences: 1, depth: 0 };

    /// A side that answers 1, 2, 3, …, or with an error from the second time on.
    fn session(name: &str, fails: bool) -> Session {
        let error =
            if fails { r#"[ $n = 2 ] && echo '{"error": "full"}' && continue"# } else { ":" };
        let script = format!(
            r#"echo '{{"ready": true}}'; n=0; while read line; do n=$((n+1)); {error}; echo "{{\"tokens_per_second\": $n}}"; done"#
        );
        Session::start(name, Command::new("sh").args(["-c", &script])).unwrap()
    }

    #[test]
    fn every_side_is_measured_in_every_round_but_the_first() {
        let mut comparison = Comparison::new(vec![session("a", false), session("b", true)]);
        let row = comparison.run(DECODE, 3, false).unwrap();
        assert_eq!(row.sides[0].rates, [2.0, 3.0, 4.0]);
        assert_eq!(row.sides[1], Samples { rates: Vec::new(), error: Some("full".to_owned()) });
        assert_eq!(comparison.loads().len(), 3);
        let json = row.to_json(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(json["sides"]["a"]["tokens_per_second"], 3.0);
        assert_eq!(json["sides"]["b"]["error"], "full");
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
