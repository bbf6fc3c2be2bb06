//! `/v1/models`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
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

/// The models
#[utoipa::path(get, path = "/v1/models", tag = "Models", responses(
    (status = 200, body = ModelList), (status = 503, description = "Loading", body = ErrorEnvelope)))]
async fn list(State(state): State<AppState>) -> Result<Json<ModelList>, ApiError> {
    let served = state.served()?;
    let names = std::iter::once(&served.id).chain(&served.aliases);
    let data = names.map(|name| ModelObject::new(served, name)).collect();
    Ok(Json(ModelList { object: "list", data }))
}

/// A model
#[utoipa::path(get, path = "/v1/models/{*model}", tag = "Models",
    params(("model" = String, Path, description = "Its name")),
    responses((status = 200, body = ModelObject), (status = 404, description = "There is no such model", body = ErrorEnvelope)))]
async fn retrieve(
    State(state): State<AppState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelObject>, ApiError> {
    let Path(name) =
        name.map_err(|rejection| ApiError::parameter("model", rejection.body_text()))?;
    Ok(Json(ModelObject::new(state.model(Some(&name))?, &name)))
}
