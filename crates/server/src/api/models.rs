//! `/v1/models`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorEnvelope};
use crate::options::Served;
use crate::state::AppState;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(retrieve))
        .route("/models", get(list))
        .route("/models/{*model}", get(retrieve))
}

/// All models: the one there is, under each of its names.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// The models.
    data: Vec<ModelObject>,
}

/// A model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ModelObject {
    /// Its name.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When it was made, in seconds since 1970.
    created: u64,
    /// Who says so.
    owned_by: &'static str,
    /// Tokens that prompt and answer may have together.
    max_model_len: usize,
    /// The name of which this is an alias; itself, if it is none.
    root: String,
}

impl ModelObject {
    fn new(served: &Served, name: &str) -> Self {
        Self {
            id: name.to_owned(),
            object: "model",
            created: served.created,
            owned_by: "stablemate",
            max_model_len: served.engine.context(),
            root: served.id.clone(),
        }
    }
}

/// The models, in Anthropic's form: for requests with the header `anthropic-version`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AnthropicModels {
    /// The models.
    data: Vec<AnthropicModel>,
    /// Always false: these are all.
    has_more: bool,
    /// The first one's name.
    first_id: Option<String>,
    /// The last one's name.
    last_id: Option<String>,
}

/// A model, in Anthropic's form.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AnthropicModel {
    /// Always `model`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Its name.
    id: String,
    /// Its name, for people.
    display_name: String,
    /// When it was made, as RFC 3339 writes it.
    created_at: String,
    /// Tokens that prompt and answer may have together.
    max_input_tokens: usize,
    /// Tokens of an answer.
    max_tokens: usize,
}

impl AnthropicModel {
    fn new(served: &Served, name: &str) -> Self {
        let context = served.engine.context();
        Self {
            kind: "model",
            id: name.to_owned(),
            display_name: name.to_owned(),
            created_at: rfc3339(served.created),
            max_input_tokens: context,
            max_tokens: context,
        }
    }
}

impl AnthropicModels {
    fn new(data: Vec<AnthropicModel>) -> Self {
        let id = |model: Option<&AnthropicModel>| model.map(|model| model.id.clone());
        let (first_id, last_id) = (id(data.first()), id(data.last()));
        Self { data, has_more: false, first_id, last_id }
    }
}

/// Seconds since 1970 as a date in UTC. The days are counted as in Howard Hinnant's `civil_from_days`, in which a year
/// begins in March.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

/// The models
#[utoipa::path(get, path = "/v1/models", tag = "Models", responses(
    (status = 200, description = "With the header `anthropic-version`, in Anthropic's form", content((ModelList = "application/json"), (AnthropicModels = "application/json"))), (status = 503, description = "Loading", body = ErrorEnvelope)))]
async fn list(State(state): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let served = state.served()?;
    let names = std::iter::once(&served.id).chain(&served.aliases).filter(|name| *name != "*");
    if speaks_anthropic(&headers) {
        let data: Vec<_> = names.map(|name| AnthropicModel::new(served, name)).collect();
        return Ok(Json(AnthropicModels::new(data)).into_response());
    }
    let data = names.map(|name| ModelObject::new(served, name)).collect();
    Ok(Json(ModelList { object: "list", data }).into_response())
}

/// Whether a client is one of Anthropic's: they say so with every request.
fn speaks_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// A model
#[utoipa::path(get, path = "/v1/models/{*model}", tag = "Models",
    params(("model" = String, Path, description = "Its name")),
    responses((status = 200, body = ModelObject), (status = 404, description = "There is no such model", body = ErrorEnvelope)))]
async fn retrieve(
    State(state): State<AppState>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(name) =
        name.map_err(|rejection| ApiError::parameter("model", rejection.body_text()))?;
    let served = state.model(Some(&name))?;
    if speaks_anthropic(&headers) {
        return Ok(Json(AnthropicModel::new(served, &name)).into_response());
    }
    Ok(Json(ModelObject::new(served, &name)).into_response())
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_right() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
