//! Finds repetitions that a token would extend.

use super::Dry;
use std::collections::BTreeMap;

/// What each token that would extend a repetition loses from its logit. Takes time linear in the
/// tokens searched, times the logarithm of the tokens found.
pub fn losses(dry: &Dry, history: &[u32]) -> BTreeMap<u32, f64> {
    let range = dry.range.unwrap_or(history.len()).min(history.len());
    let reversed: Vec<u32> = history[history.len() - range..].iter().rev().copied().collect();
    // The longest repetition there may be: what follows the last breaker.
    let longest = reversed.iter().take_while(|token| !dry.breakers.contains(token)).count();
    let mut lengths = BTreeMap::new();
    if longest == 0 {
        return lengths;
    }
    let common = common_prefixes(&reversed);
    for (token, common) in reversed.iter().zip(common.iter().skip(1)) {
        let length = *common.min(&longest);
        if length >= dry.allowed_length.max(1) && !dry.breakers.contains(token) {
            let loss = f64::from(dry.multiplier) * power(dry.base, length - dry.allowed_length);
            let most = lengths.entry(*token).or_insert(loss);
            *most = loss.max(*most);
        }
    }
    lengths
}

/// For every position, how many tokens from there on are the same as from the start on (the Z-function;
/// Gusfield, Algorithms on Strings, Trees and Sequences, 1997).
fn common_prefixes(tokens: &[u32]) -> Vec<usize> {
    let mut common = vec![0; tokens.len()];
    // The stretch found so far that reaches farthest: it equals the beginning.
    let (mut start, mut end) = (0, 0);
    for n in 1..tokens.len() {
        let mut length = if n < end { common[n - start].min(end - n) } else { 0 };
        while n + length < tokens.len() && tokens[length] == tokens[n + length] {
            length += 1;
        }
        if n + length > end {
            (start, end) = (n, n + length);
        }
        common[n] = length;
    }
    common
}

/// `base^exponent` by squaring; `+∞` where it is too large.
fn power(base: f32, mut exponent: usize) -> f64 {
    let (mut square, mut result) = (f64::from(base), 1.0);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}
