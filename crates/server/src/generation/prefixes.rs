//! Prompts that begin like earlier ones and then differ: where they do is where the cache no longer helps.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Prompts that are remembered, and the tokens of each.
const REMEMBERED: usize = 8;
const LONGEST: usize = 1 << 16;

/// Shorter prompts, and shorter common beginnings, are no loss.
const SHORT: usize = 128;

/// The last prompts.
#[derive(Debug, Default)]
pub struct Prefixes {
    last: Mutex<VecDeque<Vec<u32>>>,
}

impl Prefixes {
    /// Takes a prompt, and logs where it differs from an earlier one that it does not go on with.
    pub fn note(&self, prompt: &[u32]) {
        if prompt.len() < SHORT || prompt.len() > LONGEST {
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((common, earlier)) = difference(&last, prompt) {
            let tokens = prompt.len();
            tracing::info!(
                from_token = common,
                tokens,
                earlier_tokens = earlier,
                "a prompt differs from an earlier one: it is computed again from this token on"
            );
        }
        last.push_back(prompt.to_vec());
        if last.len() > REMEMBERED {
            last.pop_front();
        }
    }
}

/// The tokens that a prompt has in common with the earlier one most like it, and the number of that one's tokens; none
/// if it goes on with that one, or they have little in common. The last tokens of a prompt begin its answer, and differ
/// where the conversation goes on.
fn difference(earlier: &VecDeque<Vec<u32>>, prompt: &[u32]) -> Option<(usize, usize)> {
    let common = |other: &Vec<u32>| other.iter().zip(prompt).take_while(|(a, b)| a == b).count();
    let nearest = earlier.iter().map(|other| (common(other), other.len())).max()?;
    let (common, length) = nearest;
    let goes_on = length.saturating_sub(common) <= 16 || common == prompt.len();
    (common >= SHORT && !goes_on).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_lost_is_told() {
        let first: Vec<u32> = (0..1000).collect();
        let earlier = VecDeque::from([first.clone()]);
        let mut longer = first.clone();
        longer.extend([1, 2, 3]);
        assert_eq!(difference(&earlier, &longer), None);
        let mut changed = longer.clone();
        changed[300] = 7;
        assert_eq!(difference(&earlier, &changed), Some((300, 1000)));
        changed[3] = 7;
        assert_eq!(difference(&earlier, &changed), None);
    }
}
