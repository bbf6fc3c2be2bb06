//! The one who asked: what is told to it, whatever its code does.

use super::guarded;
use crate::{Event, Failure, Output};
use std::ops::ControlFlow;

/// An output that cannot bring down the engine.
pub(super) struct Caller {
    /// There until it is dropped.
    output: Option<Box<dyn Output>>,
    /// It panicked, and hears nothing more.
    broken: bool,
}

impl Caller {
    pub fn new(output: Box<dyn Output>) -> Self {
        Self { output: Some(output), broken: false }
    }

    /// Tells it something. If it panics, it is told that, and nothing more.
    pub fn tell(&mut self, event: Event) -> ControlFlow<()> {
        let Some(output) = self.output.as_mut().filter(|_| !self.broken) else {
            return ControlFlow::Break(());
        };
        match guarded(|| output.event(event)) {
            Ok(flow) => flow,
            Err(message) => {
                self.broken = true;
                let message = format!("the receiver of events panicked: {message}");
                tracing::error!(message);
                // Only if it panics again does it not hear of it; then nothing can be done.
                let _ = guarded(|| output.event(Event::Failed(Failure::Runner { message })));
                ControlFlow::Break(())
            }
        }
    }

    /// Whether nobody listens.
    pub fn is_closed(&self) -> bool {
        let closed = |output: &dyn Output| guarded(|| output.is_closed()).unwrap_or(true);
        self.broken || self.output.as_deref().is_none_or(closed)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let output = self.output.take();
        if let Err(message) = guarded(|| drop(output)) {
            tracing::error!(message, "the receiver of events panicked at its end");
        }
    }
}
