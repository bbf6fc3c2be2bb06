//! `/v1/completions`.

mod logprobs;
mod request;
mod response;
mod stream;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorEnvelope};
use crate::generation::{Job, submit};
use crate::layers::Record;
use crate::sse;
use crate::state::AppState;
use crate::wire::Body;
use logprobs::Echo;
use request::CompletionRequest;
pub(crate) use response::StopReason;
use response::{Completion, CompletionResponse, Head};
use stream::Chunks;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(completions)).route("/completions", post(completions))
}

/// Continue texts
///
/// With `stream`, server-sent events whose data are such objects, ended by `[DONE]`.
#[utoipa::path(post, path = "/v1/completions", tag = "Completions", request_body = CompletionRequest, responses(
    (status = 200, content((CompletionResponse = "application/json"), (String = "text/event-stream"))),
    (status = "4XX", body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
async fn completions(
    State(state): State<AppState>,
    record: Record,
    Body(request): Body<CompletionRequest>,
) -> Result<Response, ApiError> {
    let served = state.model(request.model.as_deref())?;
    let head = Head::new(served, request.model.clone());
    request.check()?;
    let stream = request.stream.unwrap_or(false);
    let include_usage = request.includes_usage();
    let work = state.blocking(move |state| prepare(state, request)).await?;
    let Work { jobs, echoes, choices } = work;
    let updates = submit(&state, &record, jobs)?;
    if stream {
        let chunks = Chunks::new(head, echoes, choices, include_usage);
        return Ok(sse::respond(&state, updates, chunks));
    }
    let answers = updates.collect().await?;
    let completions = answers.into_iter().enumerate().map(|(index, answer)| {
        let echo = echoes.get(index / choices).and_then(Option::as_ref);
        Completion::new(index, index % choices == 0, echo, answer)
    });
    Ok(Json(CompletionResponse::new(head, completions.collect())).into_response())
}

/// What a request comes down to.
struct Work {
    /// `choices` jobs for each prompt.
    jobs: Vec<Job>,
    /// What is said of each prompt, if anything is.
    echoes: Vec<Option<Echo>>,
    choices: usize,
}

fn prepare(state: &AppState, request: CompletionRequest) -> Result<Work, ApiError> {
    let recipe = request.recipe(state)?;
    let choices = recipe.controls.choices()?;
    let add_special = request.add_special_tokens.unwrap_or(true);
    let echo = request.echo.unwrap_or(false);
    let prompts =
        request.prompt.ok_or_else(request::no_prompt)?.encode(state, "prompt", add_special)?;
    let (mut jobs, mut echoes) = (Vec::new(), Vec::new());
    for prompt in prompts {
        jobs.extend(recipe.jobs(state, &prompt.ids)?);
        let echo = echo.then(|| Echo::new(state, &prompt, &recipe)).transpose()?;
        echoes.push(echo);
    }
    Ok(Work { jobs, echoes, choices })
}
