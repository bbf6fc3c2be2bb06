//! Computes the masks of constraints on a thread of their own, while the model runs its step.

use super::guarded;
use crate::{Constraint, Continuation, TokenMask};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A constraint on its way to a mask and back.
pub(super) struct MaskWork {
    pub id: u64,
    pub constraint: Box<dyn Constraint>,
    pub mask: TokenMask,
    pub result: Result<Continuation, String>,
}

/// To the thread and back.
type Channel = (Sender<Vec<MaskWork>>, Receiver<Vec<MaskWork>>);

/// The thread, started when the first mask is wanted.
#[derive(Default)]
pub(super) struct Masks {
    thread: Option<Channel>,
    /// Sent, and not received yet; or computed already, where there is no thread.
    pending: bool,
    done: Vec<MaskWork>,
}

impl Masks {
    /// Begins; returns at once.
    pub fn begin(&mut self, work: Vec<MaskWork>) {
        if work.is_empty() {
            return;
        }
        if self.thread.is_none() {
            self.thread = start();
        }
        let unsent = match &self.thread {
            Some((sender, _)) => sender.send(work).err().map(|error| error.0),
            None => Some(work),
        };
        self.pending = unsent.is_none();
        if let Some(mut work) = unsent {
            work.iter_mut().for_each(compute);
            self.done = work;
        }
    }

    /// Waits for what was begun. A constraint that is missing was lost with its thread.
    pub fn end(&mut self) -> Vec<MaskWork> {
        if !std::mem::take(&mut self.pending) {
            return std::mem::take(&mut self.done);
        }
        let received = self.thread.as_ref().and_then(|(_, receiver)| receiver.recv().ok());
        received.unwrap_or_else(|| {
            self.thread = None;
            Vec::new()
        })
    }
}

fn start() -> Option<Channel> {
    let (sender, inbox) = channel::<Vec<MaskWork>>();
    let (outbox, receiver) = channel();
    let run = move || {
        for mut work in inbox {
            work.iter_mut().for_each(compute);
            if outbox.send(work).is_err() {
                break;
            }
        }
    };
    match std::thread::Builder::new().name("masks".into()).spawn(run) {
        Ok(_) => Some((sender, receiver)),
        Err(error) => {
            tracing::warn!(%error, "no thread for masks: they are computed between steps");
            None
        }
    }
}

fn compute(work: &mut MaskWork) {
    let MaskWork { constraint, mask, .. } = work;
    mask.clear();
    work.result = guarded(|| constraint.mask(mask)).and_then(|result| result);
}
