//! Log-probabilities.

use crate::logprobs;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn are_a_log_softmax(
        logits in prop::collection::vec(prop_oneof![9 => -30f32..30.0, 1 => Just(1.5f32)], 1..3000),
        chosen in any::<prop::sample::Index>(),
        top in 0usize..40,
    ) {
        let chosen = chosen.index(logits.len());
        let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let exact = |token: usize| f64::from(logits[token]) - total.ln();
        let found = logprobs(&logits, chosen as u32, top);
        prop_assert!((f64::from(found.logprob) - exact(chosen)).abs() < 1e-5);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        order.truncate(top);
        let tokens: Vec<usize> = found.top.iter().map(|(token, _)| *token as usize).collect();
        prop_assert_eq!(tokens, order);
        for (token, logprob) in found.top {
            prop_assert!((f64::from(logprob) - exact(token as usize)).abs() < 1e-5);
        }
    }
}

#[test]
fn small_examples() {
    let found = logprobs(&[0.0, 0.0, f32::NEG_INFINITY], 1, 5);
    assert_eq!(found.logprob, -std::f32::consts::LN_2);
    let half = -std::f32::consts::LN_2;
    assert_eq!(found.top, [(0, half), (1, half)], "impossible tokens are left out");
    assert_eq!(logprobs(&[0.0, f32::NEG_INFINITY], 1, 0).logprob, f32::NEG_INFINITY);
    assert_eq!(logprobs(&[3.0], 0, usize::MAX).top, [(0, 0.0)]);
}

#[test]
fn hostile_logits_do_no_harm() {
    assert!(logprobs(&[0.0, f32::NAN], 0, 3).logprob.is_nan());
    assert!(logprobs(&[f32::INFINITY], 0, 3).top.is_empty());
    assert_eq!(logprobs(&[], 0, 3).logprob, f32::NEG_INFINITY);
    assert_eq!(logprobs(&[f32::NEG_INFINITY; 3], 0, 3).logprob, f32::NEG_INFINITY);
    assert_eq!(logprobs(&[1.0], 9, 3).logprob, f32::NEG_INFINITY);
    let found = logprobs(&[f32::MAX, f32::MIN], 0, 2);
    assert_eq!((found.logprob, found.top[0]), (0.0, (0, 0.0)));
}
