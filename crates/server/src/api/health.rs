//! `/health` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorEnvelope};
use crate::state::AppState;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(metrics))
        .route("/v1/health", get(health))
}

/// Whether requests are answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or why not: `loading`, `draining`, `failed`.
    status: &'static str,
    /// While it is loading: what is being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<String>,
}

/// Whether requests are answered
#[utoipa::path(get, path = "/health", tag = "Server", responses(
    (status = 200, body = Health), (status = 503, description = "Not yet, or no more", body = Health)))]
async fn health(State(state): State<AppState>) -> Response {
    let status = match state.served() {
        Err(_) => "loading",
        Ok(_) if state.is_draining() => "draining",
        Ok(served) if !served.engine.is_alive() => "failed",
        Ok(_) => "ok",
    };
    let progress = state.options().loading.step().filter(|_| status == "loading");
    let health = Json(Health { status, progress });
    if status == "ok" {
        return health.into_response();
    }
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, health).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What is counted, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "Server", responses(
    (status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String),
    (status = 404, description = "Turned off", body = ErrorEnvelope)))]
async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    if !state.options().metrics {
        let message = "metrics are turned off on this server";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("unknown_url"));
    }
    let text = state.metrics().text().map_err(|error| ApiError::internal(error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
