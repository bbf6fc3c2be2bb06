//! Errors in Anthropic's envelope.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// Anthropic's envelope.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct AnthropicError {
    /// `error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What went wrong.
    error: AnthropicDetail,
    /// The request's id, also in the header `request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct AnthropicDetail {
    /// The class: `invalid_request_error`, `authentication_error`, `permission_error`, `not_found_error`,
    /// `request_too_large`, `rate_limit_error`, `timeout_error`, `overloaded_error`, `api_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// A sentence: the parameter, its value, and what would be right.
    message: String,
}

impl AnthropicError {
    /// The same error in Anthropic's words; the message names the parameter.
    pub(crate) fn new(error: &ApiError, request_id: Option<String>) -> Self {
        let kind = match error.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::REQUEST_TIMEOUT => "timeout_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_server_error() => "api_error",
            _ => "invalid_request_error",
        };
        let detail = error.detail();
        let message = match &detail.param {
            Some(parameter) if !detail.message.contains(parameter.as_str()) => {
                format!("{parameter}: {}", detail.message)
            }
            _ => detail.message.clone(),
        };
        Self { kind: "error", error: AnthropicDetail { kind, message }, request_id }
    }
}
