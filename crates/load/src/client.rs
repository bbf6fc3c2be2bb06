//! A client of a completion server: one request, and when each part of its answer came.

use std::io::BufReader;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use ureq::{Agent, Body};

use crate::sse::Events;
use crate::{LoadError, Metrics};

/// Which fields requests have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// With `ignore_eos`, so that outputs have the wanted lengths. Stablemate, llama-server and vLLM know it.
    #[default]
    Extended,
    /// Only what OpenAI's own completions endpoint knows; outputs may be shorter than wanted.
    Compatible,
}

/// The server to be loaded.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its URL, without `/v1`.
    pub url: String,
    /// Its API key, if it wants one.
    pub api_key: Option<String>,
    /// The model; `None` is the first one of `/v1/models`.
    pub model: Option<String>,
    /// Which fields requests have.
    pub dialect: Dialect,
    /// How long a request may take before it counts as failed.
    pub timeout: Duration,
}

impl Target {
    /// A server that needs no key, its first model, ten minutes for a request.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            model: None,
            dialect: Dialect::default(),
            timeout: Duration::from_secs(600),
        }
    }
}

/// When a client leaves before its answer is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Departure {
    /// It stays.
    #[default]
    Never,
    /// After so many pieces of text.
    AfterPieces(usize),
    /// After a time, whatever has come until then; during the prompt's processing too.
    After(Duration),
}

/// What is asked of `/v1/completions`.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The prompt's token ids.
    pub prompt: Vec<u32>,
    /// How many tokens to generate.
    pub tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// For temperatures above 0.
    pub seed: u64,
    /// Whether the answer comes piece by piece.
    pub stream: bool,
    /// When the client leaves.
    pub departure: Departure,
}

impl Completion {
    /// A greedy one that is streamed to its end.
    pub fn new(prompt: Vec<u32>, tokens: usize) -> Self {
        let departure = Departure::Never;
        Self { prompt, tokens, temperature: 0.0, seed: 0, stream: true, departure }
    }
}

/// The tokens a server counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// In the prompt.
    pub prompt: u64,
    /// In the answer.
    pub output: u64,
    /// Of the prompt, those that needed no work; `None` if the server does not say.
    pub cached: Option<u64>,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When the request was sent.
    pub sent: Instant,
    /// When each piece of text came. Most servers send a piece per token; one whose bytes are no whole characters yet is
    /// held back.
    pub pieces: Vec<Instant>,
    /// When the answer was complete.
    pub finished: Instant,
    /// The whole text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: String,
    /// What the server counted; `None` if it sent no usage.
    pub usage: Option<Usage>,
}

impl Answer {
    /// Seconds until the first piece of text.
    pub fn time_to_first_token(&self) -> Option<f64> {
        self.pieces.first().map(|first| (*first - self.sent).as_secs_f64())
    }

    /// Seconds between one piece and the next.
    pub fn gaps(&self) -> impl Iterator<Item = f64> + '_ {
        self.pieces.iter().zip(self.pieces.iter().skip(1)).map(|(a, b)| (*b - *a).as_secs_f64())
    }

    /// Tokens of the answer, counted by the server; else its pieces.
    pub fn output_tokens(&self) -> u64 {
        self.usage.map_or(self.pieces.len() as u64, |usage| usage.output)
    }
}

/// Why there is no complete answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The client left, as it meant to.
    #[error("the client left")]
    Left,
    /// Another status than 200.
    #[error("status {status}: {message}")]
    Status {
        /// The status.
        status: u16,
        /// The envelope's message, or the body.
        message: String,
    },
    /// An error inside the stream of events.
    #[error("error in the stream: {0}")]
    InStream(String),
    /// The connection or the answer's form.
    #[error("broken answer: {0}")]
    Broken(String),
}

impl Failure {
    /// A short name to count by: `429`, `error in stream`, `broken answer`, `left`.
    pub fn kind(&self) -> String {
        match self {
            Self::Left => "left".to_owned(),
            Self::Status { status, .. } => status.to_string(),
            Self::InStream(_) => "error in stream".to_owned(),
            Self::Broken(_) => "broken answer".to_owned(),
        }
    }
}

/// A client. Each request has a connection of its own, as from clients that know nothing of each other; the time
/// to connect counts as part of the time to the first token.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    target: Target,
    model: String,
}

impl Client {
    /// Connects and asks for the models.
    ///
    /// # Errors
    /// [`LoadError`] if the server does not list the model or any model.
    pub fn connect(target: &Target) -> Result<Self, LoadError> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .proxy(None)
            .timeout_global(Some(target.timeout))
            .build()
            .new_agent();
        let mut client = Self { agent, target: target.clone(), model: String::new() };
        client.model = match &target.model {
            Some(model) => model.clone(),
            None => client.first_model()?,
        };
        Ok(client)
    }

    /// The model that is asked.
    pub fn model(&self) -> &str {
        &self.model
    }

    fn first_model(&self) -> Result<String, LoadError> {
        let url = self.url("/v1/models");
        let unreadable = |reason: String| LoadError::Unreadable { url: url.clone(), reason };
        let text = self.get(&url)?;
        let models: Value =
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let id = models.pointer("/data/0/id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| unreadable("data[0].id is not a text".to_owned()))
    }

    /// The server's `/metrics`.
    ///
    /// # Errors
    /// [`LoadError`] if there are none.
    pub fn metrics(&self) -> Result<Metrics, LoadError> {
        self.get(&self.url("/metrics")).map(|text| Metrics::parse(&text))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target.url.trim_end_matches('/'))
    }

    fn authorization(&self) -> Option<String> {
        self.target.api_key.as_ref().map(|key| format!("Bearer {key}"))
    }

    fn get(&self, url: &str) -> Result<String, LoadError> {
        let unreachable = |error: ureq::Error| LoadError::Unreachable {
            url: url.to_owned(),
            reason: error.to_string(),
        };
        let mut request = self.agent.get(url);
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(unreachable)?;
        let text = response.body_mut().read_to_string().map_err(unreachable)?;
        match response.status().as_u16() {
            200 => Ok(text),
            status => {
                Err(LoadError::Refused { url: url.to_owned(), status, message: message(&text) })
            }
        }
    }

    /// Asks, and waits for the end of the answer.
    ///
    /// # Errors
    /// [`Failure`], also where the client itself leaves.
    pub fn complete(&self, completion: &Completion) -> Result<Answer, Failure> {
        let leaves = match completion.departure {
            Departure::After(time) => Some(time),
            _ => None,
        };
        let body = self.body(completion).to_string();
        let sent = Instant::now();
        // Whatever goes wrong after the client meant to be gone is its leaving.
        let broken = |reason: String| match leaves {
            Some(time) if sent.elapsed() >= time => Failure::Left,
            _ => Failure::Broken(reason),
        };
        let mut request = self
            .agent
            .post(self.url("/v1/completions"))
            .config()
            .timeout_global(Some(leaves.unwrap_or(self.target.timeout).min(self.target.timeout)))
            .build()
            .header("content-type", "application/json");
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        let response = request.send(&body[..]).map_err(|error| broken(error.to_string()))?;
        let status = response.status().as_u16();
        let (_, mut body) = response.into_parts();
        if status != 200 {
            let text = body.read_to_string().map_err(|error| broken(error.to_string()))?;
            return Err(Failure::Status { status, message: message(&text) });
        }
        let mut answer = Partial { sent, ..Partial::default() };
        if completion.stream {
            stream(body, completion.departure, &mut answer, broken)?;
        } else {
            let text = body.read_to_string().map_err(|error| broken(error.to_string()))?;
            answer.take(&text)?;
        }
        answer.finish()
    }

    fn body(&self, completion: &Completion) -> Value {
        let mut body = json!({
            "model": self.model,
            "prompt": completion.prompt,
            "max_tokens": completion.tokens,
            "temperature": completion.temperature,
            "seed": completion.seed,
            "stream": completion.stream,
        });
        if completion.stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        if self.target.dialect == Dialect::Extended {
            body["ignore_eos"] = json!(true);
        }
        body
    }
}

/// Reads a stream of events to its end, or until the client leaves: dropping the body closes the connection.
fn stream(
    body: Body,
    departure: Departure,
    answer: &mut Partial,
    broken: impl Fn(String) -> Failure,
) -> Result<(), Failure> {
    let mut events = Events::new(BufReader::new(body.into_reader()));
    while let Some(data) = events.next().map_err(|error| broken(error.to_string()))? {
        if data == "[DONE]" {
            return Ok(());
        }
        answer.take(&data)?;
        if matches!(departure, Departure::AfterPieces(pieces) if answer.pieces.len() >= pieces) {
            return Err(Failure::Left);
        }
    }
    Err(broken("the stream ended without [DONE]".to_owned()))
}

/// An answer that is not complete yet.
struct Partial {
    sent: Instant,
    pieces: Vec<Instant>,
    text: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
}

impl Default for Partial {
    fn default() -> Self {
        Self {
            sent: Instant::now(),
            pieces: Vec::new(),
            text: String::new(),
            finish_reason: None,
            usage: None,
        }
    }
}

impl Partial {
    /// Takes in a chunk, or a whole answer.
    fn take(&mut self, data: &str) -> Result<(), Failure> {
        let now = Instant::now();
        let chunk: Value = serde_json::from_str(data)
            .map_err(|error| Failure::Broken(format!("not JSON ({error}): {}", excerpt(data))))?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Failure::InStream(message(data)));
        }
        if let Some(text) = chunk.pointer("/choices/0/text").and_then(Value::as_str)
            && !text.is_empty()
        {
            self.pieces.push(now);
            self.text.push_str(text);
        }
        if let Some(reason) = chunk.pointer("/choices/0/finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            let number = |pointer| usage.pointer(pointer).and_then(Value::as_u64);
            self.usage = Some(Usage {
                prompt: number("/prompt_tokens").unwrap_or_default(),
                output: number("/completion_tokens").unwrap_or_default(),
                cached: number("/prompt_tokens_details/cached_tokens"),
            });
        }
        Ok(())
    }

    fn finish(self) -> Result<Answer, Failure> {
        let Some(finish_reason) = self.finish_reason else {
            return Err(Failure::Broken("the answer has no finish_reason".to_owned()));
        };
        Ok(Answer {
            sent: self.sent,
            pieces: self.pieces,
            finished: Instant::now(),
            text: self.text,
            finish_reason,
            usage: self.usage,
        })
    }
}

/// The message of an error's envelope; else the beginning of what was sent.
fn message(text: &str) -> String {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let message = value.as_ref().and_then(|value| value.pointer("/error/message")?.as_str());
    message.map_or_else(|| excerpt(text), str::to_owned)
}

fn excerpt(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_several_shapes_are_taken() {
        let mut partial = Partial::default();
        for chunk in [
            r#"{"choices":[{"index":0,"text":"a","finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"text":"","finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"text":"b","finish_reason":"length"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}"#,
        ] {
            partial.take(chunk).unwrap();
        }
        let answer = partial.finish().unwrap();
        assert_eq!((answer.text.as_str(), answer.pieces.len()), ("ab", 2));
        assert_eq!(answer.usage, Some(Usage { prompt: 3, output: 2, cached: Some(1) }));
        assert_eq!(answer.finish_reason, "length");
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let mut partial = Partial::default();
        assert!(matches!(partial.take("oops"), Err(Failure::Broken(_))));
        let error = partial.take(r#"{"error":{"message":"out of luck"}}"#);
        assert_eq!(error, Err(Failure::InStream("out of luck".to_owned())));
        assert!(matches!(partial.finish(), Err(Failure::Broken(_))));
        assert_eq!(message("<html>"), "<html>");
    }
}
