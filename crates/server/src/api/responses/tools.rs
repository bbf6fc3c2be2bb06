//! Functions the model may call, and whether it does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stablemate_conversation::Tool;
use utoipa::ToSchema;

use crate::api::tools::{self, Choice, leave_out};
use crate::error::ApiError;
use crate::wire::{Item, Reading};

/// What the only argument of a tool that takes free text is called.
pub(super) const INPUT: &str = "input";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "ResponseTool")]
struct FunctionRequest {
    name: String,
    description: Option<String>,
    parameters: Option<Map<String, Value>>,
    strict: Option<bool>,
    allowed_callers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "ResponseCustomTool")]
struct CustomRequest {
    name: String,
    description: Option<String>,
    format: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "ResponseNamespace")]
struct NamespaceRequest {
    name: String,
    #[allow(dead_code, reason = "its functions are shown one by one")]
    description: Option<String>,
    tools: Vec<Value>,
}

/// A tool, as it is told back.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ToolObject {
    /// A function.
    Function(FunctionObject),
    /// A tool that takes free text.
    Custom(CustomObject),
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
    /// Whether a schema that cannot be guaranteed is refused.
    strict: bool,
}

/// A tool that takes free text, as it is told back.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct CustomObject {
    /// `custom`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Its name.
    name: String,
    /// What it does.
    description: Option<String>,
}

/// What a client calls a function that the model is shown under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Called {
    /// Its name.
    pub(super) name: String,
    /// The namespace it is in.
    pub(super) namespace: Option<String>,
    /// Whether it takes free text.
    pub(super) custom: bool,
}

/// The tools of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Tools {
    /// As they are told back.
    pub(super) objects: Vec<ToolObject>,
    /// As the model is shown them. Namespaces are flattened.
    pub(super) shown: Vec<Tool>,
    /// What clients call them, by the names that the model is shown.
    pub(super) called: BTreeMap<String, Called>,
}

impl Tools {
    /// The tools of a request; those that the server would have to run are left out.
    ///
    /// # Errors
    /// 400 naming the tool that is none.
    pub(super) fn of(tools: Vec<Value>, reading: &Reading) -> Result<Tools, ApiError> {
        let mut all = Tools::default();
        for item in Item::list(tools, "tools")? {
            all.take(item, None, reading)?;
        }
        Ok(all)
    }

    fn take(
        &mut self,
        item: Item,
        namespace: Option<&str>,
        reading: &Reading,
    ) -> Result<(), ApiError> {
        let place = item.place.clone();
        match item.kind.as_deref() {
            Some("function") => self.function(item.read(reading)?, namespace, place, reading),
            Some("custom") => self.custom(item.read(reading)?, namespace, place),
            Some("namespace") if namespace.is_none() => {
                let NamespaceRequest { name, tools, .. } = item.read(reading)?;
                for item in Item::list(tools, &format!("{place}.tools"))? {
                    self.take(item, Some(&name), reading)?;
                }
                return Ok(());
            }
            _ if leave_out(&item, reading) => {}
            _ => return Err(item.refused("\"function\", \"custom\" or \"namespace\"")),
        }
        Ok(())
    }

    fn function(
        &mut self,
        function: FunctionRequest,
        namespace: Option<&str>,
        place: String,
        reading: &Reading,
    ) {
        let FunctionRequest { name, description, parameters, strict, allowed_callers } = function;
        if allowed_callers.is_some_and(|callers| !callers.iter().any(|caller| caller == "direct")) {
            let reason = "tools that only a server's own tools may call are left out of the prompt";
            reading.ignore("ResponseTool", "allowed_callers", reason);
            return;
        }
        let object = FunctionObject {
            kind: "function",
            name: name.clone(),
            description: description.clone(),
            parameters: parameters.clone(),
            strict: strict.unwrap_or(false),
        };
        self.objects.push(ToolObject::Function(object));
        let called = Called { name, namespace: namespace.map(str::to_owned), custom: false };
        let parameters = parameters.map(Value::Object);
        let (name, strict) = (String::new(), strict.unwrap_or(false));
        self.show(called, Tool { name, description, parameters, strict, place });
    }

    /// A tool that takes free text is shown as a function of one argument. A grammar of its text is told in words: what
    /// stands inside of a JSON string cannot be kept to it.
    fn custom(&mut self, custom: CustomRequest, namespace: Option<&str>, place: String) {
        let CustomRequest { name, description, format } = custom;
        let (kind, own) = ("custom", name.clone());
        let object = CustomObject { kind, name: own, description: description.clone() };
        self.objects.push(ToolObject::Custom(object));
        let definition = format.as_ref().and_then(|format| format.get("definition")?.as_str());
        let form = definition.map(|text| format!("The input must follow this grammar:\n{text}"));
        let words: Vec<String> = description.into_iter().chain(form).collect();
        let words = (!words.is_empty()).then(|| words.join("\n"));
        let parameters = json!({"type": "object", "properties": {INPUT: {"type": "string"}},
            "required": [INPUT], "additionalProperties": false});
        let called = Called { name, namespace: namespace.map(str::to_owned), custom: true };
        let (name, description, parameters) = (String::new(), words, Some(parameters));
        self.show(called, Tool { name, description, parameters, strict: false, place });
    }

    /// Adds a tool, which gets its name here.
    fn show(&mut self, called: Called, tool: Tool) {
        let taken = self.called.contains_key(&called.name);
        let name = match &called.namespace {
            Some(namespace) if taken => format!("{namespace}__{}", called.name),
            _ => called.name.clone(),
        };
        self.called.insert(name.clone(), called);
        self.shown.push(Tool { name, ..tool });
    }

    /// The name under which the model is shown a function.
    pub(super) fn shown_name(&self, name: &str, namespace: Option<&str>) -> String {
        let same = |called: &Called| {
            called.name == name && (namespace.is_none() || called.namespace.as_deref() == namespace)
        };
        let found = self.called.iter().find(|(_, called)| same(called));
        found.map_or_else(|| name.to_owned(), |(shown, _)| shown.clone())
    }
}

/// What `tool_choice` says.
///
/// # Errors
/// 400 for what is none of OpenAI's choices, or cannot be done.
pub(super) fn tool_choice(choice: Option<&Value>) -> Result<Choice, ApiError> {
    let name = |fields: &Map<String, Value>| {
        let kind = fields.get("type")?.as_str()?;
        let known = ["function", "custom"].contains(&kind) && fields.len() <= 3;
        fields.get("name")?.as_str().filter(|_| known).map(str::to_owned)
    };
    tools::tool_choice(choice, name, "{\"type\": \"function\", \"name\": …}")
}
