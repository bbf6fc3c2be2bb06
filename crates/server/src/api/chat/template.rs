//! `/apply-template`, as llama.cpp has it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::chat::messages::{MessageRequest, ToolRequest};
use crate::api::chat::request::ChatRequest;
use crate::api::tools::ChoiceSchema;
use crate::error::{ApiError, ErrorEnvelope};
use crate::state::AppState;
use crate::wire::Body;

/// A conversation whose prompt is wanted: of a chat completion's parameters those that it is made from.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TemplateRequest {
    /// The model; the one there is, if absent.
    model: Option<String>,
    /// The conversation so far.
    #[schema(min_items = 1)]
    messages: Vec<MessageRequest>,
    /// The functions the model may call.
    #[schema(value_type = Option<Vec<ToolRequest>>)]
    tools: Option<Vec<Value>>,
    /// `auto`, `none`, `required`, or the function to call.
    #[schema(value_type = Option<ChoiceSchema>)]
    tool_choice: Option<Value>,
    /// How much to think, for models whose template knows; `none` where thinking can be turned off.
    reasoning_effort: Option<String>,
    /// Variables for the chat template, such as `enable_thinking`.
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Map<String, Value>>,
    /// Whether an answer is to begin after the last message; `true` unless `continue_final_message` is.
    add_generation_prompt: Option<bool>,
    /// Go on with the last message, one of the assistant.
    continue_final_message: Option<bool>,
}

/// The prompt of a conversation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TemplateResponse {
    /// The text that the model would be shown.
    prompt: String,
}

impl From<TemplateRequest> for ChatRequest {
    fn from(request: TemplateRequest) -> ChatRequest {
        ChatRequest {
            messages: Some(request.messages),
            tools: request.tools,
            tool_choice: request.tool_choice,
            reasoning_effort: request.reasoning_effort,
            chat_template_kwargs: request.chat_template_kwargs,
            add_generation_prompt: request.add_generation_prompt,
            continue_final_message: request.continue_final_message,
            ..ChatRequest::default()
        }
    }
}

/// The prompt of a conversation
///
/// What the model's chat template makes of it. Nothing is generated.
#[utoipa::path(post, path = "/apply-template", tag = "Chat", request_body = TemplateRequest, responses(
    (status = 200, body = TemplateResponse), (status = "4XX", body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
pub(super) async fn apply_template(
    State(state): State<AppState>,
    Body(request, reading): Body<TemplateRequest>,
) -> Result<Json<TemplateResponse>, ApiError> {
    state.model(request.model.as_deref())?;
    let request = ChatRequest::from(request);
    request.check()?;
    let prompt = state.blocking(move |state| request.turn(state, &reading)?.text(state)).await?;
    Ok(Json(TemplateResponse { prompt }))
}
