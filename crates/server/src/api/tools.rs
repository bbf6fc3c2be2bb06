//! How requests say whether the model calls functions.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use stablemate_conversation::ToolChoice;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::wire::{Item, Reading};

/// What the types of tools begin with that a server has to run, or that models must be trained on by name.
const OF_SERVERS: [&str; 30] = [
    "advisor",
    "agent_toolset",
    "apply_patch",
    "bash",
    "browser",
    "code_execution",
    "code_interpreter",
    "computer",
    "file_search",
    "google_",
    "image_generation",
    "local_shell",
    "mcp",
    "memory",
    "openrouter:",
    "programmatic_tool_calling",
    "retrieval",
    "search_tool",
    "shell",
    "skills",
    "str_replace",
    "text_editor",
    "tool_search",
    "url_context",
    "view_x",
    "view_image",
    "web_fetch",
    "web_search",
    "web_extractor",
    "x_search",
];

/// Whether a tool of this type would have to be run by the server. Such tools are left out of the prompt.
pub(crate) fn is_of_servers(kind: &str) -> bool {
    OF_SERVERS.iter().any(|prefix| kind.starts_with(prefix))
}

/// Leaves out a tool that the server would have to run, and says so.
pub(crate) fn leave_out(tool: &Item, reading: &Reading) -> bool {
    let Some(kind) = tool.kind.as_deref().filter(|kind| is_of_servers(kind)) else { return false };
    let reason = "tools that the server would have to run are left out of the prompt";
    reading.ignore("tools", "tools of servers", reason);
    reading.warn(&format!("{} ({kind}): {reason}", tool.place));
    true
}

/// What `tool_choice` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Whether the model calls.
    pub(crate) choice: ToolChoice,
    /// The functions it may call of those it is shown; all of them, if absent.
    pub(crate) allowed: Option<BTreeSet<String>>,
}

impl From<ToolChoice> for Choice {
    fn from(choice: ToolChoice) -> Self {
        Self { choice, allowed: None }
    }
}

/// What `tool_choice` of OpenAI's dialects says. `name_of` reads the name of the function that an object names, if it
/// is of the dialect's form.
///
/// # Errors
/// 400 for what is no choice, or cannot be done.
pub(crate) fn tool_choice(
    choice: Option<&Value>,
    name_of: impl Fn(&Map<String, Value>) -> Option<String>,
    example: &str,
) -> Result<Choice, ApiError> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else {
        return Ok(ToolChoice::Auto.into());
    };
    let object = choice.as_object();
    let kind = object.and_then(|fields| fields.get("type")).and_then(Value::as_str);
    if let (Some(fields), Some("allowed_tools")) = (object, kind) {
        return allowed(fields, name_of);
    }
    match choice.as_str() {
        Some("auto") => Ok(ToolChoice::Auto.into()),
        Some("none") => Ok(ToolChoice::None.into()),
        Some("required" | "any") => Ok(ToolChoice::Required.into()),
        _ => object.and_then(name_of).map(|name| ToolChoice::Named(name).into()).ok_or_else(|| {
            let message = format!(
                "tool_choice is {choice}, but must be \"auto\", \"none\", \"required\", {example} or \
                 {{\"type\": \"allowed_tools\", …}}"
            );
            ApiError::parameter("tool_choice", message).with_code("invalid_value")
        }),
    }
}

/// `{"type": "allowed_tools", "mode", "tools"}`, whose last two stand one level deeper in chat completions.
fn allowed(
    fields: &Map<String, Value>,
    name_of: impl Fn(&Map<String, Value>) -> Option<String>,
) -> Result<Choice, ApiError> {
    let (place, fields) = match fields.get("allowed_tools").and_then(Value::as_object) {
        Some(inner) => ("tool_choice.allowed_tools", inner),
        None => ("tool_choice", fields),
    };
    let wrong = |parameter: String, message: &str| {
        let message = format!("{parameter} {message}");
        ApiError::parameter(parameter, message).with_code("invalid_value")
    };
    let choice = match fields.get("mode").and_then(Value::as_str) {
        None | Some("auto") => ToolChoice::Auto,
        Some("required") => ToolChoice::Required,
        Some(_) => return Err(wrong(format!("{place}.mode"), "must be \"auto\" or \"required\"")),
    };
    let tools = fields.get("tools").and_then(Value::as_array);
    let tools = tools.ok_or_else(|| wrong(format!("{place}.tools"), "must be an array"))?;
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let object = tool.as_object();
        let kind = object.and_then(|fields| fields.get("type")).and_then(Value::as_str);
        if kind.is_some_and(is_of_servers) {
            continue;
        }
        match object.and_then(&name_of) {
            Some(name) => drop(names.insert(name)),
            None => return Err(wrong(format!("{place}.tools[{index}]"), "names no function")),
        }
    }
    Ok(Choice { choice, allowed: Some(names) })
}

/// `auto`, `none`, `required`, the function to call, or `{"type": "allowed_tools", …}`.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub enum ChoiceSchema {
    /// Without a name.
    Mode(ChoiceMode),
    /// The function to call.
    #[schema(value_type = Object)]
    Named(Map<String, Value>),
}

/// Whether functions are called.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)]
pub enum ChoiceMode {
    /// As the model sees fit.
    Auto,
    /// None is.
    None,
    /// At least one is.
    Required,
}
