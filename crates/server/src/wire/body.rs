//! From a request's body to its struct, or to an error that names the parameter.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::ApiError;
use crate::layers::Record;
use crate::state::AppState;
use crate::wire::reading::{REFUSED, UNKNOWN};
use crate::wire::{Reading, duplicates, strict};

/// Shorter bodies need not wait for room.
const SHORT_BODY: usize = 1 << 20;

/// A JSON body, read within the server's limits of size and time, and how the rest of it is to be read.
///
/// Rejected are: another `Content-Type` than JSON (415, so that no foreign web page can send one without asking),
/// a body that is too long (413) or too slow (408), and with 400 whatever is no JSON in UTF-8, has a key twice, or is
/// not what `T` wants.
#[derive(Clone, Debug)]
pub(crate) struct Body<T>(pub(crate) T, pub(crate) Reading);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        check_encoding(request.headers())?;
        let record = request.extensions().get::<Record>().cloned().unwrap_or_default();
        let reading = state.reading(record);
        let (bytes, room) = read(request, state).await?;
        Ok(Self(parse(&bytes, &reading)?, reading.holding(room)))
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let kind = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let given = given.map_or("absent".to_owned(), |given| format!("{given:?}"));
    let message = format!("the header Content-Type is {given}, but must be \"application/json\"");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// Bodies are read as they come: a compressed one would be taken for broken JSON.
fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get_all(header::CONTENT_ENCODING).iter();
    let plain = |value: &axum::http::HeaderValue| {
        value.to_str().is_ok_and(|value| value.trim().eq_ignore_ascii_case("identity"))
    };
    match given.into_iter().find(|value| !plain(value)) {
        None => Ok(()),
        Some(value) => {
            let value = value.to_str().unwrap_or("?");
            let message = format!(
                "the header Content-Encoding is {value:?}, but must be \"identity\" or absent: bodies are not decompressed"
            );
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// The bytes of a body, and its room.
type Gathered = (Vec<u8>, Option<OwnedSemaphorePermit>);

async fn read(request: Request, state: &AppState) -> Result<Gathered, ApiError> {
    let options = state.options();
    let gathering = gather(request, state);
    match tokio::time::timeout(options.body_timeout, gathering).await {
        Ok(result) => result,
        Err(_) => {
            let seconds = options.body_timeout.as_secs_f64();
            let message = format!("the body did not arrive within {seconds} seconds");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// All bytes of a body within the limit. Of a longer one as much again is read and thrown away: a connection that is
/// closed with bytes unread may lose the answer. A long one waits for room once, so that no two wait for each other.
async fn gather(request: Request, state: &AppState) -> Result<Gathered, ApiError> {
    let limit = state.options().body_limit;
    let said = request.headers().get(header::CONTENT_LENGTH);
    let said = said.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let most = said.unwrap_or(limit).min(limit);
    let mut parts = request.into_body().into_data_stream();
    let (mut bytes, mut length, mut room) = (Vec::new(), 0_usize, None);
    while let Some(part) = parts.next().await {
        let part =
            part.map_err(|error| ApiError::invalid(format!("the body cannot be read: {error}")))?;
        length = length.saturating_add(part.len());
        if length > SHORT_BODY && room.is_none() {
            room = state.room(most).await;
            bytes.reserve_exact(most.saturating_sub(bytes.len()));
        }
        if length <= limit {
            bytes.extend_from_slice(&part);
        } else {
            bytes = Vec::new();
        }
        if length > limit.saturating_mul(2) {
            break;
        }
    }
    if length > limit {
        let message = format!("the body has more than {limit} bytes, and may not");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok((bytes, room))
}

/// Reads a body as `T`.
///
/// # Errors
/// What is wrong with it, naming the parameter.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], reading: &Reading) -> Result<T, ApiError> {
    let value = duplicates::read(bytes)?;
    strict::read(value, reading).map_err(|error| explain(&error.path().to_string(), error.inner()))
}

/// Reads a value that lies at `place` in the body (`input[3]`) as `T`.
///
/// # Errors
/// What is wrong with it, naming the parameter.
pub(crate) fn read_value<T: DeserializeOwned>(
    value: Value,
    place: &str,
    reading: &Reading,
) -> Result<T, ApiError> {
    strict::read(value, reading).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => place.to_owned(),
            path if path.starts_with('[') => format!("{place}{path}"),
            path => format!("{place}.{path}"),
        };
        explain(&path, error.inner())
    })
}

/// An error of serde in words that name the parameter and what it should be.
pub(crate) fn explain(path: &str, error: &serde_json::Error) -> ApiError {
    let mut message = error.to_string();
    if error.line() > 0 {
        // The place in the text comes last.
        message.truncate(message.rfind(" at line ").unwrap_or(message.len()));
    }
    if let Some(refused) = refusal(path, &message) {
        return refused;
    }
    let message = plain_words(&message);
    let (path, code) = match missing(&message) {
        Some(field) if path == "." => (field.to_owned(), "missing_parameter"),
        Some(field) => (format!("{path}.{field}"), "missing_parameter"),
        None => (path.to_owned(), "invalid_value"),
    };
    if path == "." || path.is_empty() {
        return ApiError::invalid(format!("the body is not what is expected: {message}"));
    }
    ApiError::parameter(&path, format!("{path}: {message}")).with_code(code)
}

/// The error of a field that its object at `path` does not have, or that is known and refused.
fn refusal(path: &str, message: &str) -> Option<ApiError> {
    let inside = |field: &str| match path {
        "." | "" => field.to_owned(),
        path => format!("{path}.{field}"),
    };
    if let Some(rest) = message.strip_prefix(UNKNOWN) {
        let field = rest.strip_suffix('`').unwrap_or(rest);
        let parameter = inside(field);
        let message =
            format!("{parameter}: unknown field `{field}`: see /docs for those that are known");
        return Some(ApiError::parameter(parameter, message).with_code("unknown_parameter"));
    }
    let (field, reason) = message.strip_prefix(REFUSED)?.split_once("`: ")?;
    let parameter = inside(field);
    let message = format!("{parameter} is not supported: {reason}");
    Some(ApiError::parameter(parameter, message).with_code("unsupported_parameter"))
}

fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// Serde's message with words in place of Rust's types, and without hundreds of digits.
fn plain_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let number = found.strip_prefix("invalid type: floating point `");
    let number = number.and_then(|rest| rest.strip_suffix('`')?.parse().ok());
    let found = match number {
        Some(number) => format!("invalid type: floating point `{}`", strict::shown(number)),
        None => found.to_owned(),
    };
    let expected = match expected {
        "f64" | "f32" => "a number",
        "u64" | "usize" | "u32" => "a whole number, 0 or more",
        "i64" => "a whole number",
        "a sequence" => "an array",
        "a map" => "an object",
        expected => expected,
    };
    format!("{found}, expected {expected}")
}
