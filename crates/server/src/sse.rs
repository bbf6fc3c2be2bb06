//! Answers that come as they are made: server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;

use crate::error::ApiError;
use crate::generation::{Update, Updates};
use crate::state::AppState;

/// Tells a client what happens, in the events of one endpoint.
pub trait Narrator: Send + 'static {
    /// Before anything has happened.
    fn opening(&mut self) -> Vec<Event> {
        Vec::new()
    }

    /// An update of the job `index`; never [`Update::Failed`].
    fn update(&mut self, index: usize, update: Update) -> Vec<Event>;

    /// After all jobs have ended.
    fn closing(&mut self) -> Vec<Event> {
        vec![done()]
    }

    /// After a failure; nothing follows.
    fn failure(&mut self, error: &ApiError) -> Vec<Event> {
        vec![data(&error.envelope())]
    }
}

/// An event that carries JSON.
pub fn data(value: &impl Serialize) -> Event {
    carrying(Event::default(), value)
}

/// An event with a name that carries JSON.
pub fn named(name: &str, value: &impl Serialize) -> Event {
    carrying(Event::default().event(name), value)
}

fn carrying(event: Event, value: &impl Serialize) -> Event {
    let text = serde_json::to_string(value);
    // What we write ourselves can be written as JSON; JSON has no line breaks of its own.
    event.data(text.unwrap_or_else(|_| "null".to_owned()))
}

/// OpenAI's last event, `[DONE]`.
pub fn done() -> Event {
    Event::default().data("[DONE]")
}

/// A stream of a narrator's events, with comments while nothing happens. Dropping it cancels the jobs.
pub fn respond(state: &AppState, updates: Updates, mut narrator: impl Narrator) -> Response {
    let events = VecDeque::from(narrator.opening());
    let story = Story { updates: Some(updates), narrator, events };
    let events = stream::unfold(story, |mut story| async move {
        let event = story.next().await?;
        Some((Ok::<_, Infallible>(event), story))
    });
    let keep_alive = KeepAlive::new().interval(state.options().keep_alive).text("");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // nginx would keep the events until it has enough of them.
    let buffering = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(buffering, HeaderValue::from_static("no"));
    response
}

struct Story<N> {
    /// None once all is told.
    updates: Option<Updates>,
    narrator: N,
    events: VecDeque<Event>,
}

impl<N: Narrator> Story<N> {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match self.updates.as_mut()?.next().await {
                Some((_, Update::Failed(failure))) => {
                    self.updates = None;
                    let error = ApiError::from(failure);
                    let status = error.status().as_u16();
                    tracing::warn!(status, error = ?error.detail().message, "a stream failed");
                    self.events.extend(self.narrator.failure(&error));
                }
                Some((index, update)) => self.events.extend(self.narrator.update(index, update)),
                None => {
                    self.updates = None;
                    self.events.extend(self.narrator.closing());
                }
            }
        }
    }
}
