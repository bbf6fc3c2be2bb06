//! `/openapi.json`, and `/docs`, which shows it without anything from elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use crate::state::AppState;
use crate::wire::table::{Field, Kind, TABLE};

/// What says of a property which kind of field it is.
const KIND: &str = "x-stablemate-kind";

#[derive(OpenApi)]
#[openapi(info(
    title = "Stablemate",
    description = "OpenAI's and Anthropic's HTTP interfaces before models that run here. Every parameter is honoured, refused by name, or without effect: then it changes no answer, the header \
                   x-stablemate-warning of the answer names it, and x-stablemate-fields says why.",
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

/// The document with the fields that are not honoured, from the table of them: as properties of the objects that it
/// describes, and all of them in `x-stablemate-fields`.
fn with_kinds(document: &utoipa::openapi::OpenApi) -> Value {
    // What utoipa describes it can write.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let scopes: BTreeSet<&str> = TABLE.iter().flat_map(|field| field.scopes).copied().collect();
    let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for (name, schema) in schemas.into_iter().flatten() {
        let Some(scope) = scopes.get(name.as_str()) else { continue };
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            continue;
        };
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            property.insert(KIND.to_owned(), Value::from("honoured"));
        }
        for field in TABLE.iter().filter(|field| field.scopes.contains(scope)) {
            properties.entry(field.name).or_insert_with(|| described(field));
        }
    }
    let all: Vec<Value> = TABLE
        .iter()
        .map(|field| {
            let Field { scopes, name, kind, reason } = field;
            json!({"objects": scopes, "field": name, "kind": kind.name(), "reason": reason})
        })
        .collect();
    if let Some(fields) = document.as_object_mut() {
        fields.insert("x-stablemate-fields".to_owned(), Value::Array(all));
    }
    document
}

/// A field that is not honoured, as a property.
fn described(field: &Field) -> Value {
    let kind = field.kind.name();
    let description = format!("{}: {}.", capitalised(kind), field.reason);
    let mut property = json!({"description": description, KIND: kind});
    if let (Kind::Refused(literals), Some(fields)) = (field.kind, property.as_object_mut()) {
        let neutral = literals.iter().filter_map(|literal| serde_json::from_str(literal).ok());
        let values: Vec<Value> =
            [Value::Null, Value::Bool(false)].into_iter().chain(neutral).collect();
        fields.insert("enum".to_owned(), Value::Array(values));
    }
    property
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The document, and the page that shows it.
pub(super) fn routes(document: &utoipa::openapi::OpenApi) -> Router<AppState> {
    let text: Arc<str> = with_kinds(document).to_string().into();
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
