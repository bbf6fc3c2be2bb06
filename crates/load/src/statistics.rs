//! Quantiles of times.

use serde::Serialize;

/// Quantiles of times, in seconds; all 0 where nothing was measured (`count` says so).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many times went in.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Half of them are at most this.
    pub p50: f64,
    /// 95 % of them are at most this.
    pub p95: f64,
    /// 99 % of them are at most this.
    pub p99: f64,
    /// The longest.
    pub highest: f64,
}

impl Quantiles {
    /// Of times in seconds, in any order. A quantile is the smallest value that so many are at most (nearest rank):
    /// always a time that was really seen.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let Some(&highest) = seconds.last() else { return Self::default() };
        let count = seconds.len();
        let rank = |share: f64| {
            let rank = (share * count as f64).ceil() as usize;
            seconds.get(rank.saturating_sub(1)).copied().unwrap_or(highest)
        };
        let mean = seconds.iter().sum::<f64>() / count as f64;
        Self { count, mean, p50: rank(0.5), p95: rank(0.95), p99: rank(0.99), highest }
    }
}

/// One number by another; 0 where there is nothing to divide by.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator > 0.0 { numerator / denominator } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_times() {
        let quantiles = Quantiles::of((1..=100).rev().map(f64::from).collect());
        let expected =
            Quantiles { count: 100, mean: 50.5, p50: 50.0, p95: 95.0, p99: 99.0, highest: 100.0 };
        assert_eq!(quantiles, expected);
        assert_eq!(Quantiles::of(vec![3.0]).p50, 3.0);
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }

    proptest! {
        #[test]
        fn a_quantile_has_so_many_below(times in prop::collection::vec(0.0..9.0_f64, 1..200)) {
            let quantiles = Quantiles::of(times.clone());
            for (share, value) in [(0.5, quantiles.p50), (0.95, quantiles.p95), (0.99, quantiles.p99)] {
                let at_most = times.iter().filter(|time| **time <= value).count() as f64;
                let below = times.iter().filter(|time| **time < value).count() as f64;
                prop_assert!(at_most >= share * times.len() as f64);
                prop_assert!(below < share * times.len() as f64);
            }
        }
    }
}
