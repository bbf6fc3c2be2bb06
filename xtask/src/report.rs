//! Headings and times of the stages of `cargo xtask test`. They go to stdout, among the results of the tests themselves.

use std::time::{Duration, Instant};

/// A stage under way: its heading has been printed.
pub struct Heading {
    name: &'static str,
    start: Instant,
}

impl Heading {
    /// Prints the heading of a stage: its name and what it does.
    pub fn print(name: &'static str, what: &str) -> Self {
        println!("\n== {name}: {what}");
        Self { name, start: Instant::now() }
    }

    /// Prints that the stage went well, and returns how long it took.
    pub fn done(self) -> Duration {
        let elapsed = self.start.elapsed();
        println!("-- {}: ok, {}", self.name, duration(elapsed));
        elapsed
    }
}

/// A duration in the unit one thinks in: `0.31 s`, `42 s`, `3 min 05 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 9.995 {
        format!("{seconds:.2} s")
    } else if seconds < 59.5 {
        format!("{seconds:.0} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        let of = |seconds| duration(Duration::from_secs_f64(seconds));
        assert_eq!(of(0.314), "0.31 s");
        assert_eq!(of(9.999), "10 s");
        assert_eq!(of(59.4), "59 s");
        assert_eq!(of(59.6), "1 min 00 s");
        assert_eq!(of(185.0), "3 min 05 s");
    }
}
