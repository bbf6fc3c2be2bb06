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
mod tools;
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

/// All endpoints, each also without `/v1`. No two of them may describe different things by the same name.
fn endpoints() -> [OpenApiRouter<AppState>; 8] {
    [
        completions::routes(),
        chat::routes(),
        responses::routes(),
        messages::routes(),
        embeddings::routes(),
        models::routes(),
        tokens::routes(),
        health::routes(),
    ]
}

/// Everything that is answered.
pub(crate) fn router(state: &AppState) -> Router {
    let base = OpenApiRouter::with_openapi(documentation::base());
    let all = endpoints().into_iter().fold(base, OpenApiRouter::merge);
    let (router, openapi) = all.split_for_parts();
    let router = router
        .merge(documentation::routes(&documentation::finished(openapi)))
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn no_two_schemas_share_a_name() {
        let mut all = HashMap::new();
        for router in endpoints() {
            let components = router.into_openapi().components.unwrap_or_default();
            for (name, schema) in components.schemas {
                let schema = serde_json::to_string(&schema).unwrap();
                let first = all.entry(name.clone()).or_insert_with(|| schema.clone());
                assert_eq!(*first, schema, "{name}");
            }
        }
        assert!(all.len() > 60, "{}", all.len());
    }
}
