//! Functions the model may call, and whether it does.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Tool, ToolChoice};

use crate::api::messages::content::CacheControl;
use crate::error::ApiError;
use crate::wire::{Item, refuse_values};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolRequest {
    name: String,
    description: Option<String>,
    input_schema: Map<String, Value>,
    #[allow(dead_code, reason = "arguments always follow the schema")]
    strict: Option<bool>,
    #[allow(dead_code, reason = "arguments are always sent as they are made")]
    eager_input_streaming: Option<bool>,
    #[allow(dead_code)]
    cache_control: Option<CacheControl>,
    defer_loading: Option<bool>,
    allowed_callers: Option<Vec<String>>,
    input_examples: Option<Value>,
}

/// The tools of a request.
///
/// # Errors
/// 400 naming the tool that is none, or is not the client's own.
pub(super) fn tools(tools: Vec<Value>) -> Result<Vec<Tool>, ApiError> {
    Item::list(tools, "tools")?.into_iter().map(tool).collect()
}

fn tool(item: Item) -> Result<Tool, ApiError> {
    if item.kind.as_deref().is_some_and(|kind| kind != "custom") {
        return Err(item.refused("\"custom\", a tool of the client's own,"));
    }
    let place = item.place.clone();
    let tool: ToolRequest = item.read()?;
    refuse_values(
        &place,
        &[("input_examples", &tool.input_examples, "the model is not shown examples")],
    )?;
    let refused = |field: &str, message: &str| {
        let parameter = format!("{place}.{field}");
        let message = format!("{parameter} {message}");
        Err(ApiError::parameter(parameter, message).with_code("unsupported_parameter"))
    };
    if tool.defer_loading == Some(true) {
        return refused("defer_loading", "is true, but the model is shown all tools");
    }
    if tool.allowed_callers.is_some_and(|callers| callers != ["direct"]) {
        return refused("allowed_callers", "must be [\"direct\"]: only the model itself calls");
    }
    let parameters = Some(Value::Object(tool.input_schema));
    Ok(Tool { name: tool.name, description: tool.description, parameters })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoiceRequest {
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

/// What `tool_choice` says, and whether several calls may be made at once.
///
/// # Errors
/// 400 for what is none of Anthropic's choices.
pub(super) fn tool_choice(choice: Option<Value>) -> Result<(ToolChoice, bool), ApiError> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else {
        return Ok((ToolChoice::Auto, true));
    };
    let item = Item::new(choice, "tool_choice".to_owned())?;
    let kind = match item.kind.as_deref() {
        Some(kind @ ("auto" | "any" | "tool" | "none")) => kind.to_owned(),
        _ => return Err(item.refused("\"auto\", \"any\", \"tool\" or \"none\"")),
    };
    let ChoiceRequest { name, disable_parallel_tool_use } = item.read()?;
    let parallel = !disable_parallel_tool_use.unwrap_or(false);
    let choice = match (kind.as_str(), name) {
        ("tool", Some(name)) => ToolChoice::Named(name),
        ("tool", None) => {
            let message = "tool_choice.name is missing";
            return Err(
                ApiError::parameter("tool_choice.name", message).with_code("missing_parameter")
            );
        }
        (kind, Some(_)) => {
            let message = format!("tool_choice.name is given, but the type is {kind:?}");
            return Err(ApiError::parameter("tool_choice.name", message));
        }
        ("any", None) => ToolChoice::Required,
        ("none", None) => ToolChoice::None,
        _ => ToolChoice::Auto,
    };
    Ok((choice, parallel))
}
