//! Masks, seeds, and logits and parameters at their extremes.

use super::{dry, plain};
use crate::{Sampler, Sampling, TokenMask, Unchoosable};
use proptest::prelude::*;

fn greedy() -> Sampler {
    Sampler::new(Sampling::default(), &[])
}

#[test]
fn greedy_takes_the_first_of_equals_and_ignores_the_seed() {
    for seed in 0..20 {
        let filters = Sampling { min_p: 0.9, xtc_probability: 1.0, ..Sampling::default() };
        let mut sampler = Sampler::new(Sampling { seed, ..filters }, &[]);
        assert_eq!(sampler.choose(&[0.0, 2.0, 2.0, 1.0], None, &[]), Ok(1));
    }
}

#[test]
fn logits_that_are_no_numbers_are_reported() {
    for sampling in [Sampling::default(), plain()] {
        let choose = |logits: &[f32]| Sampler::new(sampling.clone(), &[]).choose(logits, None, &[]);
        assert_eq!(choose(&[0.0, f32::NAN]), Err(Unchoosable::NotFinite(1)));
        assert_eq!(choose(&[f32::INFINITY, 1.0]), Err(Unchoosable::NotFinite(0)));
        assert_eq!(choose(&[f32::NEG_INFINITY; 3]), Err(Unchoosable::NothingAllowed));
        assert_eq!(choose(&[]), Err(Unchoosable::NothingAllowed));
        assert_eq!(choose(&[f32::NEG_INFINITY, -5.0]), Ok(1));
    }
    let mask = TokenMask::none(2);
    let masked = greedy().choose(&[0.0, f32::NAN], Some(&mask), &[]);
    assert_eq!(masked, Err(Unchoosable::NotFinite(1)), "behind a mask as well");
}

#[test]
fn masks_and_forbidden_tokens() {
    let logits = [1.0, 4.0, 3.0, 2.0];
    let mut mask = TokenMask::none(4);
    assert_eq!(greedy().choose(&logits, Some(&mask), &[]), Err(Unchoosable::NothingAllowed));
    mask.allow(0);
    mask.allow(3);
    assert_eq!(greedy().choose(&logits, Some(&mask), &[]), Ok(3));
    assert_eq!(greedy().choose(&logits, Some(&mask), &[3, 99]), Ok(0));
    let none = greedy().choose(&logits, Some(&mask), &[3, 0]);
    assert_eq!(none, Err(Unchoosable::NothingAllowed));
    assert_eq!(greedy().choose(&logits, None, &[1, 2]), Ok(3));
    // Tokens that a shorter mask does not speak of are not allowed.
    let mut short = TokenMask::none(1);
    short.allow(0);
    short.words_mut()[0] = u32::MAX;
    assert_eq!(greedy().choose(&logits, Some(&short), &[]), Ok(0));
    // One that covers more than there is.
    let mut long = TokenMask::none(100);
    (2..100).for_each(|token| long.allow(token));
    assert_eq!(greedy().choose(&logits, Some(&long), &[]), Ok(2));
}

#[test]
fn a_failed_choice_is_not_remembered() {
    let sampling = Sampling { presence_penalty: 5.0, ..plain() };
    let mut failed = Sampler::new(sampling.clone(), &[]);
    assert!(failed.choose(&[f32::NAN], None, &[]).is_err());
    assert!(failed.choose(&[1.0], Some(&TokenMask::none(1)), &[]).is_err());
    let mut fresh = Sampler::new(sampling, &[]);
    for _ in 0..20 {
        let choose = |sampler: &mut Sampler| sampler.choose(&[1.0; 30], None, &[]);
        assert_eq!(choose(&mut failed), choose(&mut fresh));
    }
}

#[test]
fn seeds_repeat_and_differ() {
    let logits = vec![0.0; 100];
    let tokens = |seed| {
        let mut sampler = Sampler::new(Sampling { seed, ..plain() }, &[]);
        (0..50).map(|_| sampler.choose(&logits, None, &[]).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tokens(1), tokens(1));
    assert_ne!(tokens(1), tokens(2));
}

/// Every filter and penalty at once.
fn everything() -> Sampling {
    Sampling {
        top_k: 500,
        top_p: 0.97,
        typical_p: 0.98,
        min_p: 0.01,
        xtc_probability: 0.5,
        repetition_penalty: 1.1,
        frequency_penalty: 0.2,
        presence_penalty: 0.1,
        dry: Some(dry(2, &[3])),
        logit_bias: vec![(5, 1.0), (6, f32::NEG_INFINITY)],
        ..plain()
    }
}

/// The same on every machine: the logits are made of whole numbers, the choices were written down.
#[test]
fn choices_do_not_depend_on_the_machine() {
    let logits: Vec<f32> = (0..4000u32).map(|n| ((n * 7919) % 1013) as f32 / 128.0).collect();
    let mut choices = Vec::new();
    for sampling in [plain(), everything(), Sampling { top_p: 0.9, temperature: 2.0, ..plain() }] {
        let mut sampler = Sampler::new(sampling, &[1, 2, 3, 4, 1, 2]);
        choices.push([(); 6].map(|()| sampler.choose(&logits, None, &[]).unwrap()));
    }
    let expected = [
        [620, 674, 2820, 2908, 2404, 1435],
        [674, 2908, 1435, 3395, 3959, 1539],
        [626, 671, 2820, 2908, 2404, 1435],
    ];
    assert_eq!(choices, expected);
}

fn extreme() -> impl Strategy<Value = f32> {
    let values = [f32::NEG_INFINITY, f32::MIN, -1e30, -0.0, 0.0, 1e-45, 1.0, 1e30, f32::MAX];
    prop_oneof![prop::sample::select(values.to_vec()), -20f32..20.0]
}

proptest! {
    #[test]
    fn choices_are_possible_and_allowed_whatever_comes(
        logits in prop::collection::vec(extreme(), 0..200),
        bits in prop::collection::vec(any::<u32>(), 8),
        masked in any::<bool>(),
        forbidden in prop::collection::vec(0u32..300, 0..4),
        prompt in prop::collection::vec(0u32..300, 0..30),
        temperature in prop::sample::select(vec![0.0, 1e-45, 1e-20, 1e-3, 1.0, 1e20, f32::MAX]),
        (top_p, min_p, typical_p) in (1e-6f32..=1.0, 0f32..=1.0, 1e-6f32..=1.0),
        (top_k, xtc_threshold, seed) in (0usize..300, 0f32..=1.0, any::<u64>()),
        plain_filters in any::<bool>(),
    ) {
        let mut mask = TokenMask::none(250);
        mask.words_mut().copy_from_slice(&bits);
        let sampling = if plain_filters {
            Sampling { temperature, seed, ..plain() }
        } else {
            let filters = Sampling { temperature, top_p, min_p, typical_p, top_k, ..everything() };
            Sampling { xtc_threshold, seed, ..filters }
        };
        let possible = |token: u32| {
            logits[token as usize] > f32::NEG_INFINITY
                && (!masked || mask.allows(token))
                && !forbidden.contains(&token)
                && !sampling.logit_bias.contains(&(token, f32::NEG_INFINITY))
        };
        let mut sampler = Sampler::new(sampling.clone(), &prompt);
        for _ in 0..3 {
            match sampler.choose(&logits, masked.then_some(&mask), &forbidden) {
                Ok(token) => prop_assert!(possible(token), "{}", token),
                Err(error) => {
                    prop_assert_eq!(error, Unchoosable::NothingAllowed);
                    prop_assert!(!(0..logits.len() as u32).any(possible));
                }
            }
        }
    }
}
