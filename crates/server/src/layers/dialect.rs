//! Errors of Anthropic's endpoints in Anthropic's envelope, whoever they come from.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::AnthropicError;
use crate::error::ApiError;
use crate::layers::observation::RequestId;

/// Rewrites errors of Anthropic's endpoints, and tells the request's id under Anthropic's name for it.
pub(super) async fn speak(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    if path != "/messages" && !path.starts_with("/messages/") {
        return next.run(request).await;
    }
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions().get::<ApiError>() {
        let name = id.as_ref().and_then(|RequestId(id)| id.to_str().ok()).map(str::to_owned);
        let said = Json(AnthropicError::new(error, name)).into_response();
        *response.body_mut() = said.into_body();
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if let Some(RequestId(id)) = id {
        response.headers_mut().insert(HeaderName::from_static("request-id"), id);
    }
    response
}
