//! What a conversation is made of.

use serde_json::Value;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions above the conversation.
    System,
    /// The same under OpenAI's newer name; shown as `system` to templates that do not know it.
    Developer,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// The result of a call.
    Tool,
}

impl Role {
    /// The name that templates know.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The parts of the text; none where an assistant only calls tools.
    pub content: Vec<String>,
    /// What the assistant thought before it spoke.
    pub reasoning: Option<String>,
    /// The calls an assistant made.
    pub calls: Vec<Call>,
    /// For the result of a call: the id of that call.
    pub answers: Option<String>,
    /// The name of the participant, where one is given.
    pub name: Option<String>,
}

impl Message {
    /// A message of one text.
    pub fn new(role: Role, text: impl Into<String>) -> Message {
        Message {
            role,
            content: vec![text.into()],
            reasoning: None,
            calls: Vec::new(),
            answers: None,
            name: None,
        }
    }

    /// The parts of the text as one, a line each.
    pub(crate) fn text(&self) -> String {
        self.content.join("\n")
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What its result refers to.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments, a JSON object as text.
    pub arguments: String,
}

/// A function the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// The function's name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments, an object; a function without has no parameters.
    pub parameters: Option<Value>,
    /// Whether a schema that cannot be guaranteed is refused; otherwise it is followed as far as it can be.
    pub strict: bool,
    /// Where it stands in the request: `tools[3]`.
    pub place: String,
}

/// Whether the model calls.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// Not at all; the template is not shown the tools.
    None,
    /// At least once.
    Required,
    /// This function, once.
    Named(String),
}
