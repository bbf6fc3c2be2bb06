//! `/v1/chat/completions`, and the turn that all dialects of chat are made of.

mod messages;
mod request;
mod response;
mod stream;
mod template;
pub(crate) mod turn;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorEnvelope};
use crate::generation::submit;
use crate::layers::Record;
use crate::sse;
use crate::state::AppState;
use crate::wire::Body;
use request::ChatRequest;
use response::{ChatResponse, Head};
use stream::Chunks;
use turn::{Prepared, replies};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(chat))
        .route("/chat/completions", post(chat))
        .routes(routes!(template::apply_template))
        .route("/v1/apply-template", post(template::apply_template))
}

/// Continue a conversation
///
/// With `stream`, server-sent events whose data are such objects in pieces, ended by `[DONE]`.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "Chat", request_body = ChatRequest, responses(
    (status = 200, content((ChatResponse = "application/json"), (String = "text/event-stream"))),
    (status = "4XX", body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
async fn chat(
    State(state): State<AppState>,
    record: Record,
    Body(request, reading): Body<ChatRequest>,
) -> Result<Response, ApiError> {
    let stream = request.stream.unwrap_or(false);
    let head = Head::new(state.model(request.model.as_deref())?, request.model.clone(), stream);
    request.check()?;
    let usage = request.usage()?;
    let returns_ids = request.return_token_ids.unwrap_or(false);
    let prepare = move |state: &AppState| request.turn(state, &reading)?.prepare(state, &reading);
    let Prepared { jobs, splitter } = state.blocking(prepare).await?;
    let prompt_ids = jobs.first().filter(|_| returns_ids).map(|job| job.prompt.clone());
    let choices = jobs.len();
    let prompt_tokens = jobs.first().map_or(0, |job| job.prompt.len());
    let updates = submit(&state, &record, jobs)?;
    if stream {
        let chunks = Chunks::new(head, &splitter, choices, (usage, prompt_tokens), prompt_ids);
        return Ok(sse::respond(&state, updates, chunks));
    }
    let replies = replies(updates, &splitter, choices).await?;
    Ok(Json(ChatResponse::new(head, replies, prompt_ids)).into_response())
}
