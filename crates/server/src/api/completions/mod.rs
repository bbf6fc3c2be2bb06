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
use crate::wire::{Body, Reading};
use logprobs::Echo;
use request::CompletionRequest;
pub(crate) use response::StopReason;
use response::{Completion, CompletionResponse, Head};
use stream::{Chunks, Told};

/// Answers of a request. Each has a sampler and the like before the engine is asked.
const MOST_SEQUENCES: usize = 2048;

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
    Body(request, reading): Body<CompletionRequest>,
) -> Result<Response, ApiError> {
    let served = state.model(request.model.as_deref())?;
    let head = Head::new(served, request.model.clone());
    request.check()?;
    let stream = request.stream.unwrap_or(false);
    let usage = request.usage()?;
    let returns_ids = request.return_token_ids.unwrap_or(false);
    let work = state.blocking(move |state| prepare(state, request, &reading)).await?;
    let Work { jobs, echoes, choices } = work;
    let prompts: Vec<Vec<u32>> =
        jobs.iter().map(|job| job.prompt.clone()).filter(|_| returns_ids).collect();
    let prompt_tokens = jobs.iter().step_by(choices).map(|job| job.prompt.len()).sum();
    let updates = submit(&state, &record, jobs)?;
    if stream {
        let told = Told { echoes, prompts, choices, usage, prompt_tokens };
        let chunks = Chunks::new(head, told);
        return Ok(sse::respond(&state, updates, chunks));
    }
    let answers = updates.collect().await?;
    let completions = answers.into_iter().enumerate().map(|(index, answer)| {
        let echo = echoes.get(index / choices).and_then(Option::as_ref);
        Completion::new(index, index % choices == 0, echo, answer, prompts.get(index).cloned())
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

/// The body's room is kept until all is prepared.
fn prepare(state: &AppState, request: CompletionRequest, _: &Reading) -> Result<Work, ApiError> {
    let recipe = request.recipe(state)?;
    let choices = recipe.controls.choices()?;
    let add_special = request.add_special_tokens.unwrap_or(true);
    let echo = request.echo.unwrap_or(false);
    let prompts =
        request.prompt.ok_or_else(request::no_prompt)?.encode(state, "prompt", add_special)?;
    let sequences = prompts.len().saturating_mul(choices);
    if sequences > MOST_SEQUENCES {
        let message = format!(
            "this request is {sequences} sequences (prompts times n), but may be {MOST_SEQUENCES} at most"
        );
        return Err(ApiError::parameter("n", message));
    }
    let (mut jobs, mut echoes) = (Vec::new(), Vec::new());
    for prompt in prompts {
        jobs.extend(recipe.jobs(state, &prompt.ids)?);
        let echo = echo.then(|| Echo::new(state, &prompt, &recipe)).transpose()?;
        echoes.push(echo);
    }
    Ok(Work { jobs, echoes, choices })
}
