//! The endpoints. Each module has its own wire types and hands out its routes by `routes()`.

mod blocks;
mod chat;
mod completions;
mod documentation;
mod embeddings;
mod fallback;
mod health;
mod messages;
mod models;
mod prompt;
mod responses;
mod tokens;
mod usage;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;

use crate::layers;
use crate::state::AppState;

pub(crate) use completions::StopReason;
pub(crate) use messages::AnthropicError;
pub(crate) use usage::{TimingsObject, UsageObject, new_id, now};

/// All endpoints, each also without `/v1`.
fn endpoints() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(documentation::base())
        .merge(completions::routes())
        .merge(chat::routes())
        .merge(responses::routes())
        .merge(messages::routes())
        .merge(embeddings::routes())
        .merge(models::routes())
        .merge(tokens::routes())
        .merge(health::routes())
}

/// Everything that is answered.
pub(crate) fn router(state: &AppState) -> Router {
    let (router, openapi) = endpoints().split_for_parts();
    let router = router
        .merge(documentation::routes(&openapi))
        .route("/", get(page))
        .method_not_allowed_fallback(fallback::wrong_method)
        .fallback(fallback::unknown_path);
    layers::wrap(router, state).with_state(state.clone())
}

/// The page to chat with.
async fn page() -> impl IntoResponse {
    // Nothing but itself may be loaded, and nobody may frame it.
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                  connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("../page/index.html")))
}
