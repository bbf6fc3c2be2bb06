//! `/openapi.json`, and `/docs`, which shows it without anything from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(info(
    title = "Stablemate",
    description = "OpenAI's and Anthropic's HTTP interfaces before models that run here. Every parameter is honoured or refused by name.",
))]
struct Base;

/// The document before any endpoint has been added.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", bearer);
    document
}

/// The document as OpenAPI writes it: what matches many parts of a path in the router is a parameter like any other.
pub(super) fn finished(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let paths = std::mem::take(&mut document.paths.paths).into_iter();
    document.paths.paths = paths.map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    document
}

/// The document, and the page that shows it.
pub(super) fn routes(document: &utoipa::openapi::OpenApi) -> Router<AppState> {
    // What utoipa describes it can write.
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let page: Arc<str> =
        include_str!("documentation.html").replace("{{openapi}}", &embedded(&text)).into();
    Router::new()
        .route(
            "/openapi.json",
            get(move || async move {
                ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response()
            }),
        )
        .route("/docs", get(move || async move { Html(page.to_string()) }))
}

/// JSON that can stand inside a `<script>`.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}
