//! Functions the model may call, and whether it does.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Tool, ToolChoice};

use crate::api::tools::leave_out;
use crate::error::ApiError;
use crate::wire::{Item, Reading};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "AnthropicTool")]
struct ToolRequest {
    name: String,
    description: Option<String>,
    input_schema: Map<String, Value>,
    strict: Option<bool>,
    allowed_callers: Option<Vec<String>>,
}

/// The tools of a request; those that the server would have to run are left out.
///
/// # Errors
/// 400 naming the tool that is none.
pub(super) fn tools(tools: Vec<Value>, reading: &Reading) -> Result<Vec<Tool>, ApiError> {
    let mut all = Vec::with_capacity(tools.len());
    for item in Item::list(tools, "tools")? {
        if leave_out(&item, reading) {
            continue;
        }
        if item.kind.as_deref().is_some_and(|kind| kind != "custom") {
            return Err(item.refused("\"custom\", a tool of the client's own,"));
        }
        let place = item.place.clone();
        let ToolRequest { name, description, input_schema, strict, allowed_callers } =
            item.read(reading)?;
        if allowed_callers.is_some_and(|callers| !callers.iter().any(|caller| caller == "direct")) {
            let reason = "tools that only a server's own tools may call are left out of the prompt";
            reading.ignore("AnthropicTool", "allowed_callers", reason);
            continue;
        }
        let (parameters, strict) = (Some(Value::Object(input_schema)), strict.unwrap_or(false));
        all.push(Tool { name, description, parameters, strict, place });
    }
    Ok(all)
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
pub(super) fn tool_choice(
    choice: Option<Value>,
    reading: &Reading,
) -> Result<(ToolChoice, bool), ApiError> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else {
        return Ok((ToolChoice::Auto, true));
    };
    let item = Item::new(choice, "tool_choice".to_owned())?;
    let kind = match item.kind.as_deref() {
        Some(kind @ ("auto" | "any" | "tool" | "none")) => kind.to_owned(),
        _ => return Err(item.refused("\"auto\", \"any\", \"tool\" or \"none\"")),
    };
    let ChoiceRequest { name, disable_parallel_tool_use } = item.read(reading)?;
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
