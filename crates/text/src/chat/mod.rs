//! Chat templates: messages → prompt, as `apply_chat_template` of transformers renders them.
//!
//! Templates are Jinja2 programs written for Python. The engine is `minijinja`; what it lacks of Python (methods,
//! `json.dumps`, how values print) and of transformers (`raise_exception`, `strftime_now`, `{% generation %}`) is
//! added here.
//!
//! How long a template may run, how deep it may recurse and how much it may write is limited. That stops mistakes, not
//! malice: the engine does not count the memory of values inside a template, so a template (not a conversation) that
//! doubles a string forty times or nests a list a hundred thousand times still brings the process down.

mod code;
mod environment;
mod escapes;
mod filters;
mod input;
mod json;
mod methods;
mod percent;
mod python;
mod source;
mod words;

pub use input::{ChatInput, LocalTime};

use crate::error::Error;
use minijinja::{Environment, ErrorKind, Value};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Most instructions one rendering may take; a conversation of ten thousand messages needs some millions.
const FUEL: u64 = 20_000_000;

/// Most bytes one rendering may write.
const LARGEST_PROMPT: usize = 64 << 20;

/// The name of the only template in the environment. Without an extension, nothing is escaped as HTML.
const NAME: &str = "chat";

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compiles the Jinja source of a template. `bos` and `eos` are what it sees as `bos_token` and `eos_token`; one
    /// that the model does not have is undefined in it.
    ///
    /// # Errors
    /// [`Error::TemplateSyntax`].
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<ChatTemplate, Error> {
        let mut environment = environment::environment();
        let has_filter = |name: &str| {
            let known = environment.empty_state().perform_test("filter", &[Value::from(name)]);
            known.unwrap_or(false)
        };
        let source = source::prepare(source, has_filter).map_err(|refused| {
            Error::TemplateSyntax { line: refused.line, message: refused.message }
        })?;
        environment.add_template_owned(NAME, source).map_err(|e| Error::TemplateSyntax {
            line: e.line().unwrap_or(0),
            message: e.detail().map_or_else(|| e.kind().to_string(), str::to_owned),
        })?;
        let mut template = ChatTemplate { environment, tokens: BTreeMap::new() };
        for (role, token) in [("bos_token", bos), ("eos_token", eos)] {
            if let Some(token) = token {
                template = template.with_token(role, token);
            }
        }
        Ok(template)
    }

    /// Adds another special token that the template may use: `pad_token`, `unk_token`, ….
    #[must_use]
    pub fn with_token(mut self, role: &str, token: &str) -> ChatTemplate {
        self.tokens.insert(role.to_owned(), token.to_owned());
        self
    }

    /// The prompt of a conversation.
    ///
    /// # Errors
    /// [`Error::TemplateRaised`] if the template refuses the conversation, [`Error::TemplateRender`] if it cannot
    /// handle it (or if `input` is no conversation), [`Error::TemplateLimit`] if it takes too long or writes too much.
    pub fn render(&self, input: &ChatInput) -> Result<String, Error> {
        let context = input.context(&self.tokens)?;
        let broken = |message: String| Error::TemplateRender { line: 0, message };
        // The engine has been seen to panic on what templates do with some messages.
        let rendered = catch_unwind(AssertUnwindSafe(|| self.run(context)));
        let text = rendered
            .map_err(|_| broken("the template engine failed on these messages".to_owned()))??;
        String::from_utf8(text).map_err(|e| broken(format!("the prompt is not UTF-8: {e}")))
    }

    fn run(&self, context: Value) -> Result<Vec<u8>, Error> {
        let mut output = Bounded { text: Vec::new(), exceeded: false };
        let template = self.environment.get_template(NAME).map_err(|e| failure(&e, false))?;
        // The state that comes back borrows the template; only the text is wanted.
        let result = template.render_captured_to(context, &mut output).map(drop);
        result.map_err(|e| failure(&e, output.exceeded))?;
        Ok(output.text)
    }
}

/// A prompt that may not grow beyond [`LARGEST_PROMPT`].
struct Bounded {
    text: Vec<u8>,
    exceeded: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len().saturating_add(bytes.len()) > LARGEST_PROMPT {
            self.exceeded = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Why a rendering failed.
fn failure(error: &minijinja::Error, output_exceeded: bool) -> Error {
    if output_exceeded {
        return Error::TemplateLimit { limit: LARGEST_PROMPT as u64, unit: "bytes of output" };
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return Error::TemplateLimit { limit: FUEL, unit: "instructions" };
    }
    // What a function said may be the cause of a more general error.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(raised) = error.downcast_ref::<environment::Raised>() {
            return Error::TemplateRaised { message: raised.0.clone() };
        }
        cause = error.source();
    }
    let detail = error.detail().map(|detail| format!("{}: {detail}", error.kind()));
    let message = detail.unwrap_or_else(|| error.kind().to_string());
    Error::TemplateRender { line: error.line().unwrap_or(0), message }
}

/// An error that the template's author or the messages are to blame for.
fn refusal(message: impl Into<std::borrow::Cow<'static, str>>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message)
}

/// `value` for the template. Nothing is lost: keys keep their order, integers stay integers.
fn to_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => {
            match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(n), _, _) => Value::from(n),
                (_, Some(n), _) => Value::from(n),
                (_, _, Some(x)) => Value::from(x),
                _ => Value::from(number.to_string()),
            }
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(to_value).collect(),
        serde_json::Value::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(k, v)| (k.as_str(), to_value(v))))
        }
    }
}
