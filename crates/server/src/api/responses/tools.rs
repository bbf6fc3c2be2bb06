//! Functions the model may call, and whether it does.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stablemate_conversation::{Tool, ToolChoice};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::wire::{Item, refuse_values};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionRequest {
    name: String,
    description: Option<String>,
    parameters: Option<Map<String, Value>>,
    /// Whether arguments must follow the schema. They always do.
    strict: Option<bool>,
    allowed_callers: Option<Value>,
    defer_loading: Option<bool>,
    output_schema: Option<Value>,
}

/// A function, as it is told back.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FunctionObject {
    /// `function`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Its name.
    name: String,
    /// What it does.
    description: Option<String>,
    /// The JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Map<String, Value>>,
    /// Whether arguments must follow the schema. They do, also where this is false.
    strict: bool,
}

impl From<&FunctionObject> for Tool {
    fn from(function: &FunctionObject) -> Tool {
        let FunctionObject { name, description, parameters, .. } = function.clone();
        Tool { name, description, parameters: parameters.map(Value::Object) }
    }
}

/// The tools of a request.
///
/// # Errors
/// 400 naming the tool that is none, or is not the client's own.
pub(super) fn functions(tools: Vec<Value>) -> Result<Vec<FunctionObject>, ApiError> {
    let function = |tool: Item| {
        if tool.kind.as_deref() != Some("function") {
            return Err(tool.refused("\"function\""));
        }
        let place = tool.place.clone();
        let FunctionRequest { name, description, parameters, strict, .. } = {
            let function: FunctionRequest = tool.read()?;
            let why = "only the model itself calls functions here";
            refuse_values(&place, &[("allowed_callers", &function.allowed_callers, why)])?;
            let why = "results are not checked";
            refuse_values(&place, &[("output_schema", &function.output_schema, why)])?;
            if function.defer_loading == Some(true) {
                let parameter = format!("{place}.defer_loading");
                let message = format!("{parameter} is true, but the model is shown all tools");
                return Err(
                    ApiError::parameter(parameter, message).with_code("unsupported_parameter")
                );
            }
            function
        };
        let strict = strict.unwrap_or(true);
        Ok(FunctionObject { kind: "function", name, description, parameters, strict })
    };
    Item::list(tools, "tools")?.into_iter().map(function).collect()
}

/// What `tool_choice` says.
///
/// # Errors
/// 400 for what is none of OpenAI's choices, or cannot be done.
pub(super) fn tool_choice(choice: Option<&Value>) -> Result<ToolChoice, ApiError> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else {
        return Ok(ToolChoice::Auto);
    };
    let named = || {
        let fields = choice.as_object()?;
        let known = fields.get("type")? == "function" && fields.len() == 2;
        fields.get("name")?.as_str().filter(|_| known).map(str::to_owned)
    };
    match choice.as_str() {
        Some("auto") => Ok(ToolChoice::Auto),
        Some("none") => Ok(ToolChoice::None),
        Some("required") => Ok(ToolChoice::Required),
        _ => named().map(ToolChoice::Named).ok_or_else(|| {
            let message = format!(
                "tool_choice is {choice}, but must be \"auto\", \"none\", \"required\" or \
                 {{\"type\": \"function\", \"name\": …}}"
            );
            ApiError::parameter("tool_choice", message).with_code("invalid_value")
        }),
    }
}
