//! Rotary embeddings: frequencies against values computed from the published formulas in f64
//! (and checked against transformers' own functions), and the ways in which files spell them.

use serde_json::{Value, json};
use stablemate_checkpoint::RawConfig;
use stablemate_models::parts::rope::Frequencies;
use stablemate_models::parts::{Rope, RopeReading};
use std::path::Path;

/// The rotation that a configuration with these keys describes.
fn read(config: Value, head_dim: usize) -> Result<Rope, String> {
    let config = RawConfig::from_json(&config.to_string(), Path::new("some/config.json")).unwrap();
    let rope = Rope::read(&config, RopeReading::whole(head_dim, 10_000.0))
        .map_err(|error| error.to_string())?;
    // Families read it; a rotation only sometimes does.
    config.ignore(&["max_position_embeddings"]);
    config.finish().map_err(|error| error.to_string())?;
    Ok(rope)
}

/// With this scaling, of a model with a base of its own.
fn scaled(base: f64, scaling: Value, head_dim: usize) -> Rope {
    read(json!({"rope_theta": base, "rope_scaling": scaling}), head_dim).unwrap()
}

#[track_caller]
fn assert_frequencies(rope: &Rope, every: usize, expected: &[f64]) {
    let found: Vec<f32> = rope.inverse_frequencies().into_iter().step_by(every).collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let error = (f64::from(*found) - expected).abs() / expected;
        assert!(error < 4e-7, "{found} instead of {expected} in {found:?}");
    }
}

#[test]
fn plain_frequencies() {
    let expected =
        [1.0, 0.316227766, 0.1, 0.0316227766, 0.01, 0.00316227766, 0.001, 0.000316227766];
    let rope = read(json!({}), 16).unwrap();
    assert_eq!((rope.width, rope.base, rope.attention_factor()), (16, 10_000.0, 1.0));
    assert_frequencies(&rope, 1, &expected);
    let whole = read(json!({"partial_rotary_factor": 1.0}), 16).unwrap();
    assert_frequencies(&whole, 1, &expected);
    let expected = [1.0, 0.112246205, 0.0125992105, 0.00141421356, 0.000158740105, 1.78179744e-05];
    assert_frequencies(&read(json!({"rope_theta": 500_000.0}), 12).unwrap(), 1, &expected);
}

#[test]
fn linear_frequencies() {
    let rope = scaled(10_000.0, json!({"rope_type": "linear", "factor": 4.0}), 16);
    let expected =
        [0.25, 0.0790569415, 0.025, 0.00790569415, 0.0025, 0.000790569415, 0.00025, 7.90569415e-05];
    assert_frequencies(&rope, 1, &expected);
    assert_eq!(rope.attention_factor(), 1.0);
}

#[test]
fn dynamic_frequencies_of_short_sequences_are_plain() {
    let scaling = json!({"rope_type": "dynamic", "factor": 4.0});
    let rope = json!({"rope_scaling": scaling, "max_position_embeddings": 64});
    let rope = read(rope, 16).unwrap();
    assert_eq!(rope.inverse_frequencies(), read(json!({}), 16).unwrap().inverse_frequencies());
    assert!(rope.depends_on_length());
    assert!(!read(json!({}), 16).unwrap().depends_on_length());
}

#[test]
fn llama3_frequencies() {
    let scaling = |original: usize| {
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": original})
    };
    // Llama 3.1's own numbers; kept, blended and divided ones among them.
    let expected = [
        1.0,
        0.440366603,
        0.193922745,
        0.0853971003,
        0.0376060309,
        0.0165604401,
        0.00729266474,
        0.00321144599,
        0.000524846161,
        7.78465527e-05,
        3.4281022e-05,
        1.50962172e-05,
        6.64786987e-06,
        2.92749987e-06,
        1.28917317e-06,
        5.6770881e-07,
    ];
    assert_frequencies(&scaled(500_000.0, scaling(8192), 64), 2, &expected);
    let expected = [
        1.0,
        0.244384599,
        0.013042256,
        0.00395284708,
        0.00125,
        0.000395284708,
        0.000125,
        3.95284708e-05,
    ];
    assert_frequencies(&scaled(10_000.0, scaling(64), 16), 1, &expected);
}

fn yarn(factor: f64, original: usize, more: Value) -> Value {
    let mut scaling = json!({"rope_type": "yarn", "factor": factor,
                             "original_max_position_embeddings": original});
    scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    scaling
}

#[test]
fn yarn_frequencies() {
    let expected =
        [1.0, 0.237170825, 0.05, 0.00790569415, 0.0025, 0.000790569415, 0.00025, 7.90569415e-05];
    assert_frequencies(&scaled(10_000.0, yarn(4.0, 64, json!({})), 16), 1, &expected);
    let expected = [
        1.0,
        0.19858352,
        0.0255952459,
        0.00790569415,
        0.0025,
        0.000790569415,
        0.00025,
        7.90569415e-05,
    ];
    let fractional = yarn(4.0, 64, json!({"truncate": false}));
    assert_frequencies(&scaled(10_000.0, fractional, 16), 1, &expected);
    // gpt-oss' numbers.
    let expected = [
        1.0,
        0.474782055,
        0.225418,
        0.107024421,
        0.0508132748,
        0.0193350011,
        0.00679495949,
        0.00209379238,
        0.000456483919,
        3.83088124e-05,
        1.81883367e-05,
        8.63549588e-06,
        4.09997848e-06,
        1.94659621e-06,
        9.2420895e-07,
        4.38797825e-07,
    ];
    let rope = scaled(150_000.0, yarn(32.0, 4096, json!({"truncate": false})), 64);
    assert_frequencies(&rope, 2, &expected);
    let expected = [
        1.0,
        0.177827941,
        0.0316227766,
        0.00421755994,
        0.0005,
        4.44569853e-05,
        7.90569415e-06,
        1.40585331e-06,
    ];
    let betas = yarn(4.0, 32768, json!({"beta_fast": 64, "beta_slow": 2}));
    assert_frequencies(&scaled(1e6, betas, 16), 1, &expected);
    // Zero and null mean the defaults.
    let defaults = yarn(4.0, 64, json!({"beta_fast": 0, "beta_slow": null}));
    assert_eq!(scaled(1e4, defaults, 16), scaled(1e4, yarn(4.0, 64, json!({})), 16));
}

#[test]
fn yarn_attention_factors() {
    for (factor, more, expected) in [
        (4.0, json!({}), 1.138629436111989),
        (32.0, json!({}), 1.3465735902799727),
        (1.0, json!({}), 1.0),
        (0.5, json!({}), 1.0),
        (4.0, json!({"mscale": 1.0, "mscale_all_dim": 0.8}), 1.0249579607969668),
        (4.0, json!({"mscale": 0.7, "mscale_all_dim": 0.7}), 1.0),
        // One of the two alone does not count.
        (4.0, json!({"mscale": 2.0}), 1.138629436111989),
        (4.0, json!({"mscale": 2.0, "mscale_all_dim": 0}), 1.138629436111989),
        (4.0, json!({"attention_factor": 1.5}), 1.5),
        (4.0, json!({"attention_factor": 0.5, "mscale": 2.0, "mscale_all_dim": 1.0}), 0.5),
    ] {
        let found = scaled(10_000.0, yarn(factor, 64, more.clone()), 16).attention_factor();
        assert!((found - expected).abs() < 1e-12, "{more}: {found} instead of {expected}");
    }
}

#[test]
fn factors_divide_one_by_one() {
    let scaling = json!({"rope_type": "factors", "factors": [1.0, 2.0, 4.0, 8.0]});
    let rope = scaled(10_000.0, scaling, 8);
    assert_eq!(rope.frequencies, Frequencies::Factors(vec![1.0, 2.0, 4.0, 8.0]));
    assert_frequencies(&rope, 1, &[1.0, 0.05, 0.0025, 0.000125]);

    // What a GGUF file stores for Llama 3.1 means the same as the parameters it came from.
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let frequencies = scaled(500_000.0, llama3, 64).inverse_frequencies();
    let plain = read(json!({"rope_theta": 500_000.0}), 64).unwrap().inverse_frequencies();
    let factors: Vec<f32> = plain.iter().zip(&frequencies).map(|(a, b)| a / b).collect();
    let stored = scaled(500_000.0, json!({"rope_type": "factors", "factors": factors}), 64);
    let expected: Vec<f64> = frequencies.iter().map(|x| f64::from(*x)).collect();
    assert_frequencies(&stored, 1, &expected);
}

#[test]
fn old_and_new_spellings_mean_the_same() {
    let llama3 = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 64});
    let cases = [
        ("default", json!({})),
        ("linear", json!({"factor": 4.0})),
        ("dynamic", json!({"factor": 4.0})),
        ("llama3", llama3),
        ("yarn", json!({"factor": 4.0, "original_max_position_embeddings": 64})),
    ];
    for (kind, parameters) in cases {
        let with = |parameters: &Value, key: &str, value: Value| {
            let mut parameters = parameters.clone();
            parameters[key] = value;
            parameters
        };
        let named = with(&parameters, "rope_type", kind.into());
        let file = |more: Value| {
            let mut file = json!({"max_position_embeddings": 256});
            file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(file, 16).unwrap()
        };
        let new = file(json!({"rope_parameters": with(&named, "rope_theta", 5e5.into())}));
        assert_eq!(new.base, 5e5);
        let old = file(json!({"rope_theta": 5e5, "rope_scaling": named}));
        let older = with(&parameters, "type", kind.into());
        let older = file(json!({"rope_theta": 5e5, "rope_scaling": older}));
        let outside = file(json!({"rope_theta": 5e5, "rope_parameters": named}));
        assert_eq!((&old, &older, &outside), (&new, &new, &new), "{kind}");
        // `type` counts only where `rope_type` is absent.
        let both =
            file(json!({"rope_theta": 5e5, "rope_scaling": with(&named, "type", "x".into())}));
        assert_eq!(both, new, "{kind}");
    }
    // A length beside the parameters wins over one inside; without any, the model's counts.
    let inside = yarn(4.0, 64, json!({}));
    let beside =
        json!({"rope_scaling": yarn(4.0, 999, json!({})), "original_max_position_embeddings": 64});
    let mut neither = json!({"rope_scaling": inside, "max_position_embeddings": 64});
    let expected = read(json!({"rope_scaling": inside}), 16).unwrap();
    assert_eq!(read(beside, 16).unwrap(), expected);
    let scaling = neither["rope_scaling"].as_object_mut().unwrap();
    scaling.remove("original_max_position_embeddings");
    assert_eq!(read(neither.clone(), 16).unwrap(), expected);
    // Without a factor, it is the ratio of the lengths.
    let scaling = neither["rope_scaling"].as_object_mut().unwrap();
    scaling.remove("factor");
    scaling.insert("original_max_position_embeddings".to_string(), 16.into());
    let Frequencies::Yarn(found) = read(neither, 16).unwrap().frequencies else { panic!() };
    assert_eq!((found.factor, found.original), (4.0, 16.0));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let llama3 = |key: &str, value: Value| {
        let mut scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        scaling[key] = value;
        json!({"rope_scaling": scaling})
    };
    let with = |scaling: Value| json!({"rope_scaling": scaling, "max_position_embeddings": 64});
    let yarn = |more: Value| with(yarn(4.0, 64, more));
    for (config, parts) in [
        (with(json!({"rope_type": "longrope"})), ["rope_scaling.short_factor", "missing", "list"]),
        (with(json!({"rope_type": "ntk"})), ["rope_type", "\"ntk\"", "longrope and"]),
        (with(json!({"type": "3d"})), ["rope_type", "\"3d\"", "default, linear"]),
        (with(json!({"rope_type": "linear"})), ["rope_scaling.factor", "missing", "number"]),
        (with(json!({"rope_type": "linear", "factor": 0})), ["`factor`", "is 0", "positive"]),
        (with(json!({"rope_type": "linear", "factor": -2})), ["`factor`", "is -2", "positive"]),
        (with(json!({"rope_type": "linear", "factor": 1e60})), ["`factor`", "is 1000", "f32"]),
        (
            with(json!({"rope_type": "linear", "factor": "4"})),
            ["rope_scaling.factor", "\"4\"", "number"],
        ),
        (
            with(json!({"rope_type": "dynamic", "factor": 2, "alpha": 7})),
            ["rope_scaling.alpha", "7", "refuses"],
        ),
        (
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
            ["max_position_embeddings", "missing", ""],
        ),
        (
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 0}),
            ["max_position_embeddings", "is 0", "positive"],
        ),
        (
            llama3("low_freq_factor", json!(null)),
            ["rope_scaling.low_freq_factor", "missing", "number"],
        ),
        (llama3("low_freq_factor", json!(0)), ["`low_freq_factor`", "is 0", "positive"]),
        (
            llama3("high_freq_factor", json!(1)),
            ["`high_freq_factor`", "is 1", "above low_freq_factor"],
        ),
        (
            llama3("original_max_position_embeddings", json!(-1)),
            ["original_max_position_embeddings", "-1", "positive"],
        ),
        (yarn(json!({"beta_fast": -1})), ["`beta_fast`", "is -1", "positive"]),
        (yarn(json!({"attention_factor": 0})), ["`attention_factor`", "is 0", "positive"]),
        (
            yarn(json!({"mscale": 1, "mscale_all_dim": -10})),
            ["`attention_factor`", "is -", "positive"],
        ),
        (yarn(json!({"truncate": 1})), ["rope_scaling.truncate", "1", "true or false"]),
        (
            with(json!({"rope_type": "factors", "factors": [1.0, 2.0]})),
            ["rope_freqs", "2 factors", "per pair"],
        ),
        (
            with(json!({"rope_type": "factors", "factors": vec![0; 8]})),
            ["`factors`", "is 0", "positive"],
        ),
        (json!({"rope_scaling": "linear"}), ["rope_scaling", "\"linear\"", "object"]),
        (json!({"rope_theta": 1.0}), ["rope_theta", "is 1", "above 1"]),
        (json!({"rope_theta": {"__float__": "NaN"}}), ["rope_theta", "NaN", "above 1"]),
        (json!({"partial_rotary_factor": 0.5}), ["partial_rotary_factor", "is 0.5", "whole heads"]),
        (
            with(json!({"rope_type": "default", "partial_rotary_factor": 2.0})),
            ["partial_rotary_factor", "is 2", "whole heads"],
        ),
    ] {
        let message = read(config.clone(), 16).expect_err(&config.to_string());
        let named = message.starts_with("some/config.json: ");
        assert!(named && parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    }
    assert!(read(json!({}), 15).unwrap_err().contains("even number"));
    let dynamic = with(json!({"rope_type": "dynamic", "factor": 2.0}));
    assert!(read(dynamic, 2).unwrap_err().contains("dynamic RoPE needs at least 4"));
}
