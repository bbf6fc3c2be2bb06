//! The layers in their order.

use std::any::Any;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::ApiError;
use crate::layers::{authentication, dialect, host, observation};
use crate::state::AppState;

/// Wraps a router; the last layer sees a request first.
pub(crate) fn wrap(router: Router<AppState>, state: &AppState) -> Router<AppState> {
    let mut router = router.layer(from_fn_with_state(state.clone(), authentication::admit));
    // Outside of the keys: a browser asks for permission without any.
    if let Some(cors) = cors(&state.options().cors_origins) {
        router = router.layer(cors);
    }
    router
        .layer(from_fn_with_state(state.clone(), host::admit))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(dialect::speak))
        .layer(from_fn_with_state(state.clone(), observation::observe))
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origin = match origins {
        [] => return None,
        origins if origins.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        origins => AllowOrigin::list(
            origins.iter().filter_map(|origin| origin.parse::<HeaderValue>().ok()),
        ),
    };
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("request-id"),
            HeaderName::from_static("x-stablemate-warning"),
            header::RETRY_AFTER,
        ]);
    Some(layer)
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing");
    tracing::error!(said, "a handler panicked");
    ApiError::internal("the server failed on this request").into_response()
}
