//! `/v1/responses`: one turn of a conversation in OpenAI's newer dialect. Nothing is stored.

mod input;
mod object;
mod request;
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
use crate::error::{ApiError, ErrorEnvelope};
use crate::generation::submit;
use crate::layers::Record;
use crate::sse;
use crate::state::AppState;
use crate::wire::Body;
use object::{Head, ResponseObject};
use request::ResponsesRequest;
use stream::Events;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(respond)).route("/responses", post(respond))
}

/// Answer, in OpenAI's newer dialect
///
/// Stateless: nothing is stored, so a conversation is sent whole each time. With `stream`, server-sent events from
/// `response.created` to `response.completed`, `response.incomplete` or `response.failed`.
#[utoipa::path(post, path = "/v1/responses", tag = "Responses", request_body = ResponsesRequest, responses(
    (status = 200, content((ResponseObject = "application/json"), (String = "text/event-stream"))),
    (status = "4XX", body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
async fn respond(
    State(state): State<AppState>,
    record: Record,
    Body(request, reading): Body<ResponsesRequest>,
) -> Result<Response, ApiError> {
    let served = state.model(request.model.as_deref())?;
    let mut head = Head::new(served, &request);
    let stream = request.stream.unwrap_or(false);
    let prepared = state.blocking(move |state| request.prepare(state, &reading)).await?;
    let (Prepared { jobs, splitter }, echo) = prepared;
    head.complete(echo, jobs.first().map(|job| &job.generate.sampling));
    let updates = submit(&state, &record, jobs)?;
    if stream {
        return Ok(sse::respond(&state, updates, Events::new(head, splitter)));
    }
    let (blocks, ending) = gather(updates, splitter).await?;
    Ok(Json(ResponseObject::finished(&head, &blocks, &ending)).into_response())
}
