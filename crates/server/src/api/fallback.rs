//! Requests that no endpoint answers.

use axum::http::{Method, StatusCode, Uri};

use crate::error::ApiError;

pub(super) async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} {} is not known: see /docs for what is", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message).with_code("unknown_url")
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not know the method {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).with_code("method_not_allowed")
}
