//! What comes back from jobs.

use stablemate_engine::{Failure, Logprobs};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::error::ApiError;
use crate::generation::{Finish, TokenLogprobs, Update};

/// The updates of a request's jobs, as they come. Dropping it cancels the jobs.
#[derive(Debug)]
pub struct Updates {
    receiver: UnboundedReceiver<(usize, Update)>,
    /// Jobs that have not ended.
    open: usize,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its tokens, if log-probabilities were asked for.
    pub tokens: Vec<TokenLogprobs>,
    /// Their ids, if those were asked for.
    pub ids: Vec<u32>,
    /// Those of the prompt, if asked for; the first one's is missing.
    pub prompt: Vec<Option<Logprobs>>,
    /// The vector, if one was asked for.
    pub embedding: Option<Vec<f32>>,
    /// How it ended.
    pub finish: Finish,
}

impl Updates {
    pub(super) fn new(receiver: UnboundedReceiver<(usize, Update)>, jobs: usize) -> Self {
        Self { receiver, open: jobs }
    }

    /// The next update with the index of its job in the list that was submitted; `None` when all have ended.
    pub async fn next(&mut self) -> Option<(usize, Update)> {
        if self.open == 0 {
            return None;
        }
        let Some((index, update)) = self.receiver.recv().await else {
            // The engine's thread is gone without a word.
            self.open = 0;
            let message = "the engine has ended".to_owned();
            return Some((0, Update::Failed(Failure::Runner { message })));
        };
        if matches!(update, Update::Finished(_) | Update::Failed(_)) {
            self.open -= 1;
        }
        Some((index, update))
    }

    /// Waits for all answers, in the order of the jobs.
    ///
    /// # Errors
    /// The first failure; the other jobs are cancelled.
    pub async fn collect(mut self) -> Result<Vec<Answer>, ApiError> {
        let mut drafts: Vec<Draft> = (0..self.open).map(|_| Draft::default()).collect();
        while let Some((index, update)) = self.next().await {
            if let Update::Failed(failure) = update {
                return Err(failure.into());
            }
            if let Some(draft) = drafts.get_mut(index) {
                draft.take(update);
            }
        }
        let answers = drafts.into_iter().map(Draft::done).collect::<Option<_>>();
        answers.ok_or_else(|| ApiError::internal("an answer never ended"))
    }
}

#[derive(Default)]
struct Draft {
    text: String,
    tokens: Vec<TokenLogprobs>,
    ids: Vec<u32>,
    prompt: Vec<Option<Logprobs>>,
    embedding: Option<Vec<f32>>,
    finish: Option<Finish>,
}

impl Draft {
    fn take(&mut self, update: Update) {
        match update {
            Update::PromptLogprobs(prompt) => self.prompt = prompt,
            Update::Delta(delta) => {
                self.text.push_str(&delta.text);
                self.tokens.extend(delta.tokens);
                self.ids.extend(delta.ids);
            }
            Update::Embedding(vector) => self.embedding = Some(vector),
            Update::Finished(finish) => self.finish = Some(finish),
            Update::Failed(_) => {}
        }
    }

    fn done(self) -> Option<Answer> {
        let Draft { text, tokens, ids, prompt, embedding, finish } = self;
        finish.map(|finish| Answer { text, tokens, ids, prompt, embedding, finish })
    }
}
