//! The runs of a step: neighbouring tokens of one sequence, with the slot of their state.

use super::product;

/// The positions of a step's tokens and the state slots of their sequences.
///
/// The tokens of a sequence are neighbours in a step, at consecutive positions. The token at
/// position 0 starts from a state of zeros; the slot's content is ignored. Any other first token of
/// a run continues from the slot.
#[derive(Clone, Copy, Debug)]
pub struct StateAddresses<'a> {
    /// `[T]`: position in the sequence; -1 for padding.
    pub positions: &'a [i32],
    /// `[T]`: row of `slots`; ignored for padding.
    pub sequences: &'a [i32],
    /// `[S]`: slot of the pool of states. Slot 0 belongs to no sequence.
    pub slots: &'a [i32],
}

/// The tokens of a sequence in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first of them in the step.
    pub token: usize,
    pub tokens: usize,
    /// Of the first.
    pub position: usize,
    /// Of the pool.
    pub slot: usize,
}

impl StateAddresses<'_> {
    /// The runs of a step over a pool of `length` values, in slots of `sizes`.
    ///
    /// # Errors
    /// A pool of another size; positions, sequences or slots outside their range; two runs in one
    /// slot.
    pub(super) fn runs(&self, length: usize, sizes: &[usize]) -> Result<Vec<Run>, String> {
        let slots = product(sizes).filter(|slot| *slot > 0 && length.is_multiple_of(*slot));
        let slots = slots.map(|slot| length / slot);
        let slots = slots.ok_or(format!("a pool of {length} values, not slots of {sizes:?}"))?;
        let tokens = self.positions.len();
        if self.sequences.len() != tokens {
            let found = self.sequences.len();
            return Err(format!("{found} sequences for {tokens} positions"));
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut last = None;
        for (token, (&position, &sequence)) in self.positions.iter().zip(self.sequences).enumerate()
        {
            let before = last.replace((position, sequence));
            if position == -1 {
                continue;
            }
            if let Some(run) = runs.last_mut()
                && before == Some((position.wrapping_sub(1), sequence))
                && position > 0
            {
                run.tokens += 1;
                continue;
            }
            runs.push(self.first(token, slots)?);
        }
        distinct(&runs)?;
        Ok(runs)
    }

    /// A run of one token.
    fn first(&self, token: usize, slots: usize) -> Result<Run, String> {
        let (position, sequence) = (self.positions[token], self.sequences[token]);
        let Ok(start) = usize::try_from(position) else {
            return Err(format!("token {token} is at position {position}, -1 or more expected"));
        };
        let slot = usize::try_from(sequence).ok().and_then(|row| self.slots.get(row));
        let Some(&slot) = slot else {
            let rows = self.slots.len();
            return Err(format!("token {token} is of sequence {sequence}, below {rows} expected"));
        };
        match usize::try_from(slot) {
            Ok(slot) if slot > 0 && slot < slots => {
                Ok(Run { token, tokens: 1, position: start, slot })
            }
            _ => Err(format!(
                "sequence {sequence} has the state slot {slot}, 1 or more and below {slots} expected"
            )),
        }
    }
}

/// Checks that each run has a slot of its own, since runs are computed in parallel.
fn distinct(runs: &[Run]) -> Result<(), String> {
    let mut slots: Vec<(usize, usize)> = runs.iter().map(|run| (run.slot, run.token)).collect();
    slots.sort_unstable();
    match slots.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some([(slot, first), (_, second)]) => Err(format!(
            "tokens {first} and {second} begin runs in the state slot {slot}: neighbours at consecutive positions expected"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(positions: &[i32], sequences: &[i32], slots: &[i32]) -> Result<Vec<Run>, String> {
        StateAddresses { positions, sequences, slots }.runs(6 * 20, &[4, 5])
    }

    fn run(token: usize, tokens: usize, position: usize, slot: usize) -> Run {
        Run { token, tokens, position, slot }
    }

    #[test]
    fn neighbours_are_a_run() {
        let found = runs(&[-1, 0, 1, 2, 7, 8, -1, 0], &[0, 1, 1, 1, 0, 0, 1, 2], &[3, 5, 1]);
        assert_eq!(found, Ok(vec![run(1, 3, 0, 5), run(4, 2, 7, 3), run(7, 1, 0, 1)]));
        assert_eq!(runs(&[], &[], &[]), Ok(vec![]));
        assert_eq!(runs(&[-1, -1], &[-4, 9], &[0]), Ok(vec![]));
        // Padding before position 0 of the row that it names.
        assert_eq!(runs(&[-1, 0], &[0, 0], &[2]), Ok(vec![run(1, 1, 0, 2)]));
        // One sequence ends where another begins.
        assert_eq!(runs(&[4, 5], &[0, 1], &[2, 3]), Ok(vec![run(0, 1, 4, 2), run(1, 1, 5, 3)]));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let refused = |found: Result<Vec<Run>, String>, part: &str| {
            let message = found.unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        refused(runs(&[-2], &[0], &[1]), "token 0 is at position -2");
        refused(runs(&[0, 0], &[0], &[1]), "1 sequences for 2 positions");
        refused(runs(&[3], &[1], &[1]), "token 0 is of sequence 1, below 1");
        refused(runs(&[3], &[-1], &[1]), "token 0 is of sequence -1");
        refused(runs(&[3], &[0], &[0]), "the state slot 0, 1 or more and below 6");
        refused(runs(&[3], &[0], &[6]), "the state slot 6");
        refused(runs(&[3], &[0], &[-1]), "the state slot -1");
        refused(runs(&[3, 5], &[0, 0], &[1]), "tokens 0 and 1 begin runs in the state slot 1");
        refused(runs(&[3, 4], &[0, 1], &[2, 2]), "tokens 0 and 1 begin runs in the state slot 2");
        refused(runs(&[3, -1, 4], &[0, 0, 0], &[2]), "tokens 0 and 2 begin runs");
        let addresses = StateAddresses { positions: &[0], sequences: &[0], slots: &[1] };
        refused(addresses.runs(41, &[4, 5]), "a pool of 41 values, not slots of [4, 5]");
        refused(addresses.runs(40, &[4, 0]), "a pool of 40 values");
        refused(addresses.runs(40, &[usize::MAX, 2]), "a pool of 40 values");
    }
}
