//! Messages as a template sees them.

use serde_json::{Map, Value, json};

use crate::capabilities::Capabilities;
use crate::{Call, ConversationError, Message, Role, Tool, ToolFormat};

/// How messages are shown to one template.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) capabilities: Capabilities,
    pub(crate) format: ToolFormat,
    pub(crate) knows_developer: bool,
}

/// A tool, as transformers shows it to templates.
pub(crate) fn tool(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(tool.name));
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    let none = || json!({"type": "object", "properties": {}});
    function.insert("parameters".to_owned(), tool.parameters.clone().unwrap_or_else(none));
    json!({"type": "function", "function": function})
}

impl View {
    /// The list of messages; where the template does not show tools, they are described in it.
    pub(crate) fn messages(
        self,
        messages: &[Message],
        tools: &[Tool],
    ) -> Result<Value, ConversationError> {
        let described = self.format == ToolFormat::Described;
        let mut shown: Vec<Message> = Vec::with_capacity(messages.len().saturating_add(1));
        let mut rendered = Vec::with_capacity(messages.len());
        // Which messages came from where: errors name the client's message.
        let mut origins = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            self.check(index, message)?;
            let is_result = message.role == Role::Tool;
            if is_result && (described || !self.capabilities.results) {
                let text = format!("<tool_response>\n{}\n</tool_response>", message.text());
                match (shown.last_mut(), previous_is_result(messages, index)) {
                    (Some(last), true) => last.content.push(text),
                    _ => {
                        shown.push(Message::new(Role::User, text));
                        origins.push(index);
                    }
                }
                continue;
            }
            let mut message = message.clone();
            if !message.calls.is_empty() && (described || !self.capabilities.calls) {
                written(&mut message, index)?;
            }
            if is_result && message.name.is_none() {
                message.name = called(&messages[..index], message.answers.as_deref());
            }
            shown.push(message);
            origins.push(index);
        }
        if described && !tools.is_empty() {
            self.describe(tools, &mut shown, &mut origins);
        }
        for (message, index) in shown.iter().zip(origins) {
            rendered.push(self.message(message, index)?);
        }
        Ok(Value::Array(rendered))
    }

    fn check(self, index: usize, message: &Message) -> Result<(), ConversationError> {
        let refused = |message: String| Err(ConversationError::Message { index, message });
        let Message { role, calls, answers, .. } = message;
        if *role != Role::Assistant && !(calls.is_empty() && message.reasoning.is_none()) {
            return refused(format!("only the assistant reasons and calls, not {:?}", role.name()));
        }
        if (*role == Role::Tool) != answers.is_some() {
            let text = "the id of the call it answers belongs to a message of the role \"tool\"";
            return refused(format!("{text}, and only there: the role is {:?}", role.name()));
        }
        Ok(())
    }

    fn message(self, message: &Message, index: usize) -> Result<Value, ConversationError> {
        let role = match message.role {
            Role::Developer if !self.knows_developer => Role::System.name(),
            role => role.name(),
        };
        let mut fields = Map::new();
        let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
        set("role", json!(role));
        let content = match message.content.as_slice() {
            [] if !self.capabilities.empty && !message.calls.is_empty() => Value::Null,
            parts if self.capabilities.parts => {
                parts.iter().map(|text| json!({"type": "text", "text": text})).collect()
            }
            _ => json!(message.text()),
        };
        set("content", content);
        if let Some(reasoning) = &message.reasoning {
            set("reasoning_content", json!(reasoning));
        }
        if let Some(name) = &message.name {
            set("name", json!(name));
        }
        if let Some(id) = &message.answers {
            set("tool_call_id", json!(self.id(id)));
        }
        if !message.calls.is_empty() {
            let calls = message.calls.iter().enumerate();
            let calls = calls.map(|(number, call)| self.call(call, index, number));
            set("tool_calls", calls.collect::<Result<_, _>>()?);
        }
        Ok(Value::Object(fields))
    }

    fn call(self, call: &Call, index: usize, number: usize) -> Result<Value, ConversationError> {
        let object = arguments(call, index, number)?;
        let arguments =
            if self.capabilities.objects { object } else { json!(call.arguments.as_str()) };
        let function = json!({"name": call.name, "arguments": arguments});
        Ok(json!({"id": self.id(&call.id), "type": "function", "function": function}))
    }

    /// An id as the template takes it: those of Mistral take nine letters and digits only.
    fn id(self, id: &str) -> String {
        let mistral = matches!(self.format, ToolFormat::MistralList | ToolFormat::MistralNamed);
        let fits = id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !mistral || fits {
            return id.to_owned();
        }
        // FNV-1a: short, and the same in every request, so that prompts keep their cached prefix.
        let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut digits = String::with_capacity(9);
        for _ in 0..9 {
            let digit = u32::try_from(hash % 36).unwrap_or(0);
            digits.extend(char::from_digit(digit, 36));
            hash /= 36;
        }
        digits
    }

    /// Puts the description of the tools at the head of the conversation.
    fn describe(self, tools: &[Tool], shown: &mut Vec<Message>, origins: &mut Vec<usize>) {
        let lines: Vec<String> = tools.iter().map(|each| tool(each).to_string()).collect();
        let text = format!(
            "You can call the functions listed below. To call one, write a JSON object with its name and its \
             arguments between two tags, and do so once for each call:\n<tool_call>\n\
             {{\"name\": \"the function's name\", \"arguments\": {{\"a parameter\": \"its value\"}}}}\n</tool_call>\n\
             What it returns comes back between <tool_response> and </tool_response>.\n\
             The functions:\n{}",
            lines.join("\n")
        );
        let instructs = |message: &Message| matches!(message.role, Role::System | Role::Developer);
        match shown.first_mut() {
            Some(first) if instructs(first) => first.content.push(format!("\n{text}")),
            Some(first) if !self.capabilities.system => {
                first.content.insert(0, format!("{text}\n"));
            }
            _ => {
                shown.insert(0, Message::new(Role::System, text));
                origins.insert(0, 0);
            }
        }
    }
}

fn previous_is_result(messages: &[Message], index: usize) -> bool {
    let previous = index.checked_sub(1).and_then(|previous| messages.get(previous));
    previous.is_some_and(|message| message.role == Role::Tool)
}

/// Writes the calls of a message into its text.
fn written(message: &mut Message, index: usize) -> Result<(), ConversationError> {
    for (number, call) in std::mem::take(&mut message.calls).iter().enumerate() {
        let arguments = arguments(call, index, number)?;
        let object = json!({"name": call.name, "arguments": arguments});
        message.content.push(format!("<tool_call>\n{object}\n</tool_call>"));
    }
    Ok(())
}

/// A call's arguments as an object. Clients write those of a function without parameters as "".
fn arguments(call: &Call, index: usize, number: usize) -> Result<Value, ConversationError> {
    let refused = |message: String| ConversationError::Message {
        index,
        message: format!(
            "tool_calls[{number}], of {:?}: the arguments must be a JSON object as text: {message}",
            call.name
        ),
    };
    if call.arguments.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value: Value =
        serde_json::from_str(&call.arguments).map_err(|error| refused(error.to_string()))?;
    match value {
        Value::Object(_) => Ok(value),
        other => Err(refused(format!("found {other}"))),
    }
}

/// The name of the function whose call has this id.
fn called(before: &[Message], id: Option<&str>) -> Option<String> {
    let mut calls = before.iter().rev().flat_map(|message| &message.calls);
    calls.find(|call| Some(call.id.as_str()) == id).map(|call| call.name.clone())
}
