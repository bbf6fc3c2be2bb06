//! A prompt that becomes a vector.

use super::Outcome;
use super::caller::Caller;
use crate::{Event, Failure, FinishReason, Pooling};

/// The vectors of a prompt's tokens so far.
pub(super) struct Embedding {
    pooling: Pooling,
    prompt: usize,
    /// Their sum, `[D]`, in order of positions: the same whatever the steps were.
    sum: Vec<f64>,
    rows: usize,
}

impl Embedding {
    pub fn new(pooling: Pooling, prompt: usize) -> Self {
        Self { pooling, prompt, sum: Vec::new(), rows: 0 }
    }

    /// Whether all rows are wanted, or the last one.
    pub fn wants_all(&self) -> bool {
        self.pooling == Pooling::Mean
    }

    /// Takes the vector of the token at `position`.
    pub fn row(&mut self, position: usize, row: &[f32], caller: &mut Caller) -> Outcome {
        if let Some(id) = row.iter().position(|element| !element.is_finite()) {
            return Outcome::end(Event::Failed(Failure::NotFinite { tokens: position + 1, id }));
        }
        self.rows += 1;
        self.sum.resize(row.len(), 0.0);
        self.sum.iter_mut().zip(row).for_each(|(sum, element)| *sum += f64::from(*element));
        if position + 1 < self.prompt {
            return Outcome::default();
        }
        let rows = self.rows as f64;
        let vector = self.sum.iter().map(|sum| (sum / rows) as f32).collect();
        // Only a token can be answered by an end.
        let _ = caller.tell(Event::Embedding(vector));
        Outcome::end(Event::Finished(FinishReason::Stop))
    }
}
