//! Ranges.

use super::dry;
use crate::{Dry, EngineError, Refusal, Sampling};

#[test]
fn parameters_outside_their_ranges_are_named() {
    let base = Sampling::default();
    assert_eq!(base.validate(10), Ok(()));
    let with_dry = |multiplier, base| Sampling {
        dry: Some(Dry { multiplier, base, ..dry(2, &[]) }),
        ..Sampling::default()
    };
    let bias = |id, bias| Sampling { logit_bias: vec![(id, bias)], ..Sampling::default() };
    let (infinite, not) = (f32::INFINITY, f32::NAN);
    for (sampling, message) in [
        (Sampling { temperature: -0.1, ..base.clone() }, "temperature is -0.1"),
        (Sampling { temperature: not, ..base.clone() }, "temperature is NaN"),
        (Sampling { temperature: infinite, ..base.clone() }, "temperature is inf"),
        (Sampling { top_p: 0.0, ..base.clone() }, "top_p is 0"),
        (Sampling { top_p: 1.5, ..base.clone() }, "top_p is 1.5"),
        (Sampling { top_p: not, ..base.clone() }, "top_p is NaN"),
        (Sampling { min_p: -1.0, ..base.clone() }, "min_p is -1"),
        (Sampling { typical_p: 0.0, ..base.clone() }, "typical_p is 0"),
        (Sampling { xtc_probability: 1.1, ..base.clone() }, "xtc_probability is 1.1"),
        (Sampling { xtc_threshold: not, ..base.clone() }, "xtc_threshold is NaN"),
        (Sampling { repetition_penalty: 0.0, ..base.clone() }, "repetition_penalty is 0"),
        (Sampling { frequency_penalty: infinite, ..base.clone() }, "frequency_penalty is inf"),
        (Sampling { presence_penalty: not, ..base.clone() }, "presence_penalty is NaN"),
        (with_dry(0.0, 2.0), "dry_multiplier is 0"),
        (with_dry(1.0, 0.5), "dry_base is 0.5"),
        (bias(10, 1.0), "logit_bias is keyed by 10"),
        (bias(1, infinite), "logit_bias is inf"),
        (bias(1, not), "logit_bias is NaN"),
    ] {
        let error = sampling.validate(10).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{message}, but must be ")), "{error}");
    }
}

#[test]
fn the_ends_of_the_ranges_are_inside() {
    let sampling = Sampling {
        temperature: f32::MAX,
        top_p: 1.0,
        min_p: 1.0,
        typical_p: f32::MIN_POSITIVE,
        xtc_probability: 1.0,
        xtc_threshold: 1.0,
        logit_bias: vec![(9, f32::NEG_INFINITY), (0, f32::MAX)],
        dry: Some(dry(0, &[])),
        ..Sampling::default()
    };
    assert_eq!(sampling.validate(10), Ok(()));
}

#[test]
fn errors_become_those_of_the_engine() {
    let invalid = Sampling { min_p: 2.0, ..Sampling::default() }.validate(10).unwrap_err();
    let message = "min_p is 2, but must be between 0 and 1";
    assert_eq!(Refusal::from(invalid.clone()).to_string(), message);
    let error: EngineError<std::io::Error> = invalid.into_engine_error();
    assert_eq!(error.to_string(), message);
}
