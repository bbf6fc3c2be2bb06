//! What a client is told when something cannot be done, in OpenAI's envelope.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use stablemate_engine::{Failure, Refusal};
use stablemate_grammar::GrammarError;
use utoipa::ToSchema;

/// Seconds after which a client that was turned away may come again.
const RETRY_AFTER: u64 = 1;

/// Characters of a message.
const LONGEST_MESSAGE: usize = 1000;

/// An answer that is not what was asked for. Becomes OpenAI's envelope
/// `{"error": {"message", "type", "param", "code"}}`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    detail: ErrorDetail,
    retry_after: Option<u64>,
}

/// The envelope.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// A sentence: the parameter, its value, and what would be right.
    pub message: String,
    /// The class: `invalid_request_error`, `authentication_error`, `not_found_error`,
    /// `rate_limit_error`, `service_unavailable_error`, `server_error`, `timeout_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The parameter at fault, as a path: `messages[0].content`.
    pub param: Option<String>,
    /// A name for programs: `context_length_exceeded`, `model_not_found`, ….
    pub code: Option<String>,
}

impl ApiError {
    /// An error of a status; its class follows from it.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::REQUEST_TIMEOUT => "timeout_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "service_unavailable_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let (message, kind) = (shortened(message.into()), kind.to_owned());
        let detail = ErrorDetail { message, kind, param: None, code: None };
        let turned_away =
            [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        Self { status, detail, retry_after: turned_away.then_some(RETRY_AFTER) }
    }

    /// 400: the request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400: a parameter is wrong.
    pub fn parameter(parameter: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(message).with_parameter(parameter)
    }

    /// 500: a mistake of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 503: not yet, or no more.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn with_parameter(mut self, parameter: impl Into<String>) -> Self {
        self.detail.param = Some(shortened(parameter.into()));
        self
    }

    /// Names the error for programs.
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        self.detail.code = Some(code.to_owned());
        self
    }

    /// The same in the words of another dialect: what is called `from`, or lies inside of it, is called `to` there.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        let replaced = |text: &str| {
            let rest = text.strip_prefix(from)?;
            let inside = rest.chars().next().is_none_or(|next| !is_of_name(next));
            inside.then(|| format!("{to}{rest}"))
        };
        if let Some(parameter) = self.detail.param.as_deref().and_then(replaced) {
            self.detail.param = Some(parameter);
            if let Some(message) = replaced(&self.detail.message) {
                self.detail.message = message;
            }
        }
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the client is told.
    pub fn detail(&self) -> &ErrorDetail {
        &self.detail
    }

    /// The body, as it is sent; also what a stream sends that fails on its way.
    pub fn envelope(&self) -> ErrorEnvelope {
        ErrorEnvelope { error: self.detail.clone() }
    }

    /// The headers that clients of OpenAI obey before they try again.
    pub fn retry_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let Some(seconds) = self.retry_after else { return Vec::new() };
        let should_retry = HeaderName::from_static("x-should-retry");
        vec![
            (header::RETRY_AFTER, HeaderValue::from(seconds)),
            (should_retry, HeaderValue::from_static("true")),
        ]
    }
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Messages repeat what a client wrote, which may be long.
fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.envelope())).into_response();
        for (name, value) in self.retry_headers() {
            response.headers_mut().insert(name, value);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        // Kept for layers that answer in another dialect, such as Anthropic's.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::QueueFull { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, format!("the server is busy: {message}"))
                    .with_code("rate_limit_exceeded")
            }
            Refusal::ShuttingDown => Self::unavailable(message),
            Refusal::ContextExceeded { .. } => {
                Self::parameter("prompt", message).with_code("context_length_exceeded")
            }
            Refusal::EmptyPrompt | Refusal::UnknownToken { .. } => {
                Self::parameter("prompt", message)
            }
            Refusal::InvalidParameter { parameter, .. } => Self::parameter(parameter, message),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        match failure {
            Failure::Runner { .. } | Failure::NotFinite { .. } => Self::internal(message),
            // A grammar that leads nowhere is the client's.
            Failure::Constraint { .. } => Self::invalid(message).with_code("grammar_failed"),
            Failure::ShuttingDown => Self::unavailable(message),
        }
    }
}

impl From<GrammarError> for ApiError {
    fn from(error: GrammarError) -> Self {
        Self::invalid(error.to_string()).with_code("invalid_grammar")
    }
}

impl From<stablemate_text::Error> for ApiError {
    fn from(error: stablemate_text::Error) -> Self {
        Self::invalid(error.to_string())
    }
}
