//! `/v1/messages` and `/v1/messages/count_tokens`: one turn of a conversation in Anthropic's dialect. Its errors come in
//! Anthropic's envelope: see `layers`.

mod content;
mod error;
mod prefix;
mod request;
mod response;
mod stream;
mod tools;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::blocks::gather;
use crate::api::chat::turn::Prepared;
use crate::error::ApiError;
use crate::generation::submit;
use crate::layers::Record;
use crate::sse;
use crate::state::AppState;
use crate::wire::Body;
pub(crate) use error::AnthropicError;
use request::{CountRequest, MessagesRequest};
use response::{CountObject, MessageObject};
use stream::Events;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(message))
        .routes(routes!(count_tokens))
        .route("/messages", post(message))
        .route("/messages/count_tokens", post(count_tokens))
}

/// Continue a conversation, in Anthropic's dialect
///
/// With `stream`, server-sent events from `message_start` to `message_stop`. The header `anthropic-version` may be
/// there, and is not looked at.
#[utoipa::path(post, path = "/v1/messages", tag = "Messages", request_body = MessagesRequest, responses(
    (status = 200, content((MessageObject = "application/json"), (String = "text/event-stream"))),
    (status = "4XX", body = AnthropicError), (status = 503, body = AnthropicError)))]
async fn message(
    State(state): State<AppState>,
    record: Record,
    Body(request, reading): Body<MessagesRequest>,
) -> Result<Response, ApiError> {
    let served = state.model(request.model.as_deref())?;
    let (model, stream) = (request.model.clone(), request.stream.unwrap_or(false));
    let prepared = state.blocking(move |state| request.prepare(state, &reading)).await?;
    let Prepared { jobs, splitter } = prepared;
    let prompt_tokens = jobs.iter().map(|job| job.prompt.len()).sum();
    let begun = MessageObject::begun(served, model, prompt_tokens);
    let updates = submit(&state, &record, jobs)?;
    if stream {
        return Ok(sse::respond(&state, updates, Events::new(begun, splitter)));
    }
    let (blocks, ending) = gather(updates, splitter).await?;
    Ok(Json(begun.finished(&blocks, &ending)).into_response())
}

/// Count the tokens of a conversation, in Anthropic's dialect
#[utoipa::path(post, path = "/v1/messages/count_tokens", tag = "Messages", request_body = CountRequest, responses(
    (status = 200, body = CountObject),
    (status = "4XX", body = AnthropicError), (status = 503, body = AnthropicError)))]
async fn count_tokens(
    State(state): State<AppState>,
    Body(request, reading): Body<CountRequest>,
) -> Result<Json<CountObject>, ApiError> {
    state.model(request.model.as_deref())?;
    let input_tokens = state.blocking(move |state| request.count(state, &reading)).await?;
    Ok(Json(CountObject { input_tokens }))
}
