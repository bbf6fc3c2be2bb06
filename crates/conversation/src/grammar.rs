//! What a model may write: free text, calls that follow the tools' schemas, or an agreed form, after its reasoning.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use stablemate_grammar::{Grammar, Grammars};

use crate::format::{ARGUMENTS, THINK};
use crate::{Conversation, ConversationError, Thinking, Tool, ToolChoice, ToolFormat};

/// Calls of a text that is nothing but calls: small models would never end it.
const MOST_CALLS: usize = 8;

/// What is asked of a model's text.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// The functions it may call.
    pub tools: &'a [Tool],
    /// Whether it calls them.
    pub choice: &'a ToolChoice,
    /// Whether it may make several calls.
    pub parallel: bool,
    /// The form of what it says, where it does not call.
    pub content: Option<&'a Grammar>,
    /// How its text begins: [`Prompt::thinking`](crate::Prompt).
    pub thinking: Thinking,
}

/// The grammar of a model's text.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The grammar; `None` if the text is free.
    pub grammar: Option<Grammar>,
    /// What of the tools' schemas is not followed.
    pub loosened: Vec<Loosened>,
}

/// A part of a tool's schema that is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loosened {
    /// The function.
    pub name: String,
    /// JSON pointer (RFC 6901) into its parameters.
    pub pointer: String,
    /// The keyword.
    pub keyword: String,
}

impl Conversation {
    /// The grammar of a model's text, if that is not free. Reasoning is always free and comes first. Calls carry the
    /// name of a tool and arguments that its schema accepts.
    ///
    /// # Errors
    /// [`ConversationError::Choice`], [`ConversationError::Tool`] and [`ConversationError::Parameters`];
    /// [`ConversationError::Unsupported`] for a form of the content that cannot be combined with calls or reasoning.
    pub fn grammar(
        &self,
        output: &Output<'_>,
        grammars: &Grammars,
    ) -> Result<Written, ConversationError> {
        let free = Written::default;
        let alone = |grammar| Written { grammar: Some(grammar), loosened: Vec::new() };
        let callable = callable(output)?;
        if callable.is_empty() {
            return match (output.content, output.thinking) {
                (Some(content), Thinking::Never) => Ok(alone(content.clone())),
                (Some(content), _) => {
                    let mut lark = Lark::new(self, grammars, output.thinking, false);
                    lark.content("body", content)?;
                    Ok(alone(lark.finish()))
                }
                (None, _) => Ok(free()),
            };
        }
        let mut schemas = Vec::with_capacity(callable.len());
        let mut loosened = Vec::new();
        for tool in callable {
            schemas.push((tool.name.as_str(), schema(tool, grammars, &mut loosened)?));
        }
        let required = *output.choice != ToolChoice::Auto;
        let single = !output.parallel
            || !self.format().parallel()
            || matches!(output.choice, ToolChoice::Named(_));
        let free = !required && output.content.is_none();
        let mut lark = Lark::new(self, grammars, output.thinking, free);
        lark.functions(&schemas);
        match output.content.filter(|_| !required) {
            Some(content) => {
                lark.rule("body", "calls | content");
                lark.content("content", content)?;
                lark.calls("calls", single);
            }
            None if required => lark.calls("body", single),
            None => lark.text_and_calls(single),
        }
        Ok(Written { grammar: Some(lark.finish()), loosened })
    }
}

/// The tools that may be called.
fn callable<'a>(output: &Output<'a>) -> Result<Vec<&'a Tool>, ConversationError> {
    let tools = output.tools.iter();
    let missing = |wanted: &str| {
        let known: Vec<&str> = output.tools.iter().map(|tool| tool.name.as_str()).collect();
        ConversationError::Choice { wanted: wanted.to_owned(), known: known.join(", ") }
    };
    let mut seen = std::collections::BTreeSet::new();
    for tool in tools.clone() {
        let wrong = |message: &str| ConversationError::Tool {
            place: tool.place.clone(),
            name: tool.name.clone(),
            message: message.to_owned(),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        if tool.name.is_empty() || tool.name.len() > 128 || !tool.name.chars().all(fits) {
            return Err(wrong("a name has 1 to 128 letters, digits, and of _ - . : only"));
        }
        if !seen.insert(&tool.name) {
            return Err(wrong("another tool has this name already"));
        }
    }
    match output.choice {
        ToolChoice::None => Ok(Vec::new()),
        ToolChoice::Auto => Ok(tools.collect()),
        ToolChoice::Required if output.tools.is_empty() => Err(missing("any function")),
        ToolChoice::Required => Ok(tools.collect()),
        ToolChoice::Named(name) => {
            let named: Vec<_> = tools.filter(|tool| tool.name == *name).collect();
            if named.is_empty() { Err(missing(name)) } else { Ok(named) }
        }
    }
}

/// The schema of a tool's arguments: they are always an object. A schema that cannot be guaranteed is loosened, unless
/// the tool is strict.
fn schema(
    tool: &Tool,
    grammars: &Grammars,
    loosened: &mut Vec<Loosened>,
) -> Result<Value, ConversationError> {
    let (place, name) = (|| tool.place.clone(), || tool.name.clone());
    let wrong = |message: String| ConversationError::Tool { place: place(), name: name(), message };
    let schema = match &tool.parameters {
        None => json!({"type": "object", "properties": {}, "additionalProperties": false}),
        Some(Value::Object(fields)) => {
            let mut schema = Map::new();
            let kind = fields.get("type").filter(|kind| !kind.is_null());
            let is_object = kind.is_none_or(|kind| {
                kind == "object"
                    || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("object")))
            });
            if !is_object {
                let kind = kind.cloned().unwrap_or_default();
                return Err(wrong(format!(
                    "parameters: /type: arguments are an object, so this must be \"object\", not {kind}"
                )));
            }
            schema.extend(fields.clone());
            schema.insert("type".to_owned(), json!("object"));
            Value::Object(schema)
        }
        Some(other) => {
            return Err(wrong(format!("parameters must be a JSON schema, an object, not {other}")));
        }
    };
    if tool.strict {
        let compiled = grammars.check(&schema);
        return compiled.map(|()| schema).map_err(|source| ConversationError::Parameters {
            place: place(),
            name: name(),
            source,
        });
    }
    let (schema, parts) = grammars.loosened(&schema);
    let part = |(pointer, keyword)| Loosened { name: name(), pointer, keyword };
    loosened.extend(parts.into_iter().map(part));
    Ok(schema)
}

/// A grammar being written.
struct Lark<'a> {
    conversation: &'a Conversation,
    grammars: &'a Grammars,
    text: String,
}

impl<'a> Lark<'a> {
    /// The reasoning, and the text that is meant where `TEXT` stands; `free` if the body may be any text.
    fn new(
        conversation: &'a Conversation,
        grammars: &'a Grammars,
        thinking: Thinking,
        free: bool,
    ) -> Lark<'a> {
        let mut lark = Lark { conversation, grammars, text: "%llguidance {}\n".to_owned() };
        let (open, gap) = (lark.mark(THINK.0), if free { "" } else { " LINES?" });
        match thinking {
            Thinking::Never => lark.rule("start", "body"),
            Thinking::May => lark.rule("start", &format!("({open} thoughts{gap})? body")),
            Thinking::Open => lark.rule("start", &format!("thoughts{gap} body")),
        }
        lark.rule("ANY", "/(?s:.*)/");
        if thinking != Thinking::Never {
            lark.until("thoughts", "ANY", THINK.1);
            lark.rule("LINES", "/\\n{1,4}/");
        }
        // Otherwise a text of the body could begin with reasoning, too, in which a mark is none.
        let excluded = thinking == Thinking::May && !is_token(&lark.mark(THINK.0));
        let text = if excluded { "ANY & ~/<think>(?s:.*)/" } else { "/(?s:.*)/" };
        lark.rule("TEXT", text);
        lark
    }

    fn rule(&mut self, name: &str, body: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{name}: {body}");
    }

    /// `text` and then a mark, at the first place where that stands.
    fn until(&mut self, name: &str, text: &str, mark: &str) {
        let mark = self.mark(mark);
        let name = if is_token(&mark) { name.to_owned() } else { format!("{name}[lazy]") };
        self.rule(&name, &format!("{text} {mark}"));
    }

    /// A mark: its token, or its letters.
    fn mark(&self, mark: &str) -> String {
        self.grammars.lark_text(mark)
    }

    /// The rule `function`: the name of one and its arguments.
    fn functions(&mut self, schemas: &[(&str, Value)]) {
        let names: Vec<String> = (0..schemas.len()).map(|index| format!("f{index}")).collect();
        self.rule("function", &names.join(" | "));
        let key = self.conversation.format().marks().key;
        for (rule, (name, schema)) in names.iter().zip(schemas) {
            let arguments = format!("{rule}_arguments");
            self.rule(&arguments, &format!("%json {schema}"));
            let body = match key {
                Some(key) => {
                    let head = format!("{{\"name\": {}, \"{key}\": ", quoted(name));
                    format!("{} {arguments} \"}}\"", quoted(&head))
                }
                None => format!("{} {} {arguments}", quoted(name), self.mark(ARGUMENTS)),
            };
            self.rule(rule, &body);
        }
    }

    /// What follows the mark that begins a call, and the rule for several of them.
    fn after_mark(&self, single: bool) -> String {
        let marks = self.conversation.format().marks();
        match self.conversation.format() {
            ToolFormat::Hermes | ToolFormat::Described => {
                format!("\"\\n\" function \"\\n\" {}", self.mark(marks.closer))
            }
            ToolFormat::MistralList if single => "\" \"? \"[\" function \"]\"".to_owned(),
            ToolFormat::MistralList => {
                let more = MOST_CALLS.saturating_sub(1);
                format!("\" \"? \"[\" function (\",\" \" \"? function){{0,{more}}} \"]\"")
            }
            ToolFormat::MistralNamed | ToolFormat::Llama => "function".to_owned(),
        }
    }

    /// A rule of nothing but calls.
    fn calls(&mut self, name: &str, single: bool) {
        let marks = self.conversation.format().marks();
        let (open, rest) = (self.mark(marks.opener), self.after_mark(single));
        match self.conversation.format() {
            // The mark is not in every vocabulary, and models know to do without.
            ToolFormat::Llama => self.rule("call", &format!("{open}? {rest}")),
            _ => self.rule("call", &format!("{open} {rest}")),
        }
        let body = match self.conversation.format() {
            _ if single || marks.list => "call".to_owned(),
            ToolFormat::MistralNamed => format!("call{{1,{MOST_CALLS}}}"),
            _ => format!("call (\"\\n\" call){{0,{}}}", MOST_CALLS.saturating_sub(1)),
        };
        self.rule(name, &body);
    }

    /// The body of any text in which calls may stand.
    fn text_and_calls(&mut self, single: bool) {
        let marks = self.conversation.format().marks();
        let rest = self.after_mark(single);
        if marks.bare {
            // A text that begins with a brace would be taken for a call.
            self.rule("WORDS", "TEXT & /\\s*([^{\\s](?s:.*))?/");
            let open = self.mark(marks.opener);
            self.rule("body", &format!("WORDS | {open}? {rest}"));
            return;
        }
        self.until("head", "TEXT", marks.opener);
        self.rule("rest", "TEXT");
        self.rule("call", &format!("head {rest}"));
        self.rule("body", if single || marks.list { "call | rest" } else { "call* rest" });
    }

    /// A rule for content of an agreed form.
    fn content(&mut self, name: &str, content: &Grammar) -> Result<(), ConversationError> {
        let body = match content {
            Grammar::JsonSchema(schema) => format!("%json {schema}"),
            Grammar::JsonObject => {
                "%json {\"type\": \"object\", \"additionalProperties\": true}".to_owned()
            }
            Grammar::Choice(texts) => {
                texts.iter().map(|text| self.mark(text)).collect::<Vec<_>>().join(" | ")
            }
            Grammar::Regex(regex) => slashed(regex),
            _ => {
                return Err(ConversationError::Unsupported(
                    "a grammar of one's own cannot be combined with tools, nor with a model that reasons first: \
                     leave out the tools, or turn the reasoning off"
                        .to_owned(),
                ));
            }
        };
        self.rule(name, &body);
        Ok(())
    }

    fn finish(self) -> Grammar {
        Grammar::Lark(self.text)
    }
}

/// Whether a mark is a token, which no text contains.
fn is_token(mark: &str) -> bool {
    mark.starts_with('<')
}

/// A text as a string of the grammar's language, which writes them as JSON does.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A regular expression between slashes.
fn slashed(regex: &str) -> String {
    let mut result = String::from("/");
    let mut escaped = false;
    for character in regex.chars() {
        match character {
            '\n' => result.push_str(if escaped { "n" } else { "\\n" }),
            '/' if !escaped => result.push_str("\\/"),
            _ => result.push(character),
        }
        escaped = character == '\\' && !escaped;
    }
    result.push('/');
    result
}
