//! [`Conversation`]: what one model's template makes of messages.

use serde_json::{Map, Value};
use stablemate_text::{ChatInput, ChatTemplate, LocalTime, Tokenizer};

use crate::capabilities::Capabilities;
use crate::forgery::{Marked, Specials};
use crate::format::THINK;
use crate::{ConversationError, Message, Parser, Role, Tool, ToolChoice, ToolFormat, render};

/// How a model converses: its chat template, the way it writes calls, whether it thinks first.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub(crate) tokenizer: Tokenizer,
    plain: ChatTemplate,
    with_tools: ChatTemplate,
    sources: [String; 2],
    capabilities: Capabilities,
    format: ToolFormat,
    reasons: bool,
    specials: Specials,
}

/// A conversation to be continued by the model.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The messages so far.
    pub messages: Vec<Message>,
    /// The functions the model may call.
    pub tools: Vec<Tool>,
    /// Whether it calls them.
    pub choice: ToolChoice,
    /// Variables for the template, such as `enable_thinking`. One that the template does not use is an error.
    pub variables: Map<String, Value>,
    /// Whether the last message, one of the assistant, is to be gone on with instead of a new one begun.
    pub continues: bool,
    /// The time, for templates that write it.
    pub now: LocalTime,
}

impl Exchange {
    /// Messages alone.
    pub fn new(messages: Vec<Message>, now: LocalTime) -> Exchange {
        Exchange {
            messages,
            tools: Vec::new(),
            choice: ToolChoice::Auto,
            variables: Map::new(),
            continues: false,
            now,
        }
    }
}

/// Whether a model's text may begin with reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// The model does not reason, or the prompt has ended its reasoning.
    Never,
    /// The text may begin with `<think>`.
    May,
    /// The prompt ends inside of the reasoning: the text begins there.
    Open,
}

/// What the model is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The prompt, with all its special tokens; none need be added.
    pub text: String,
    /// How the model's text begins.
    pub thinking: Thinking,
    /// Where messages hold special tokens, which are letters there.
    pub(crate) marked: Option<Marked>,
}

impl Prompt {
    /// A prompt in which all special tokens are meant.
    pub fn new(text: impl Into<String>, thinking: Thinking) -> Prompt {
        Prompt { text: text.into(), thinking, marked: None }
    }
}

impl Conversation {
    /// The conversation of a model, by the template of its files or by the source of another one.
    ///
    /// # Errors
    /// [`ConversationError::NoTemplate`], and [`ConversationError::Template`] if the template is no valid Jinja.
    pub fn new(
        tokenizer: &Tokenizer,
        template: Option<&str>,
    ) -> Result<Conversation, ConversationError> {
        let load = |tools: bool| match template {
            Some(source) => {
                Ok::<_, ConversationError>((with_tokens(source, tokenizer)?, source.to_owned()))
            }
            None => {
                let source = tokenizer.chat_template_source(tools)?;
                let source = source.ok_or(ConversationError::NoTemplate)?.to_owned();
                let template = tokenizer.chat_template(tools)?;
                Ok((template.ok_or(ConversationError::NoTemplate)?, source))
            }
        };
        let ((plain, plain_source), (with_tools, source)) = (load(false)?, load(true)?);
        let capabilities = Capabilities::of(&plain, &with_tools);
        let format = match capabilities.tools {
            true => ToolFormat::detect(&source),
            false => ToolFormat::Described,
        };
        let reasons = [&source, &plain_source].into_iter().any(|source| source.contains(THINK.1));
        Ok(Conversation {
            tokenizer: tokenizer.clone(),
            plain,
            with_tools,
            sources: [plain_source, source],
            capabilities,
            format,
            reasons,
            specials: Specials::new(tokenizer),
        })
    }

    /// How the model writes calls.
    pub fn format(&self) -> ToolFormat {
        self.format
    }

    /// Whether the model's template knows reasoning between `<think>` and `</think>`.
    pub fn reasons(&self) -> bool {
        self.reasons
    }

    /// Whether the template's source mentions a variable, such as `reasoning_effort`.
    pub fn uses(&self, variable: &str) -> bool {
        let word = |character: char| character.is_alphanumeric() || character == '_';
        let mentions = |source: &String| source.split(|c| !word(c)).any(|name| name == variable);
        self.sources.iter().any(mentions)
    }

    /// Whether the template asks for a variable: whether it is defined, or true. Unlike [`Conversation::uses`], this is
    /// certain for names that are also words, such as `thinking`.
    pub fn asks(&self, variable: &str) -> bool {
        let phrases = [
            format!("{variable} is defined"),
            format!("{variable} is not defined"),
            format!("{variable} is undefined"),
            format!("{variable}|default"),
            format!("{variable} | default"),
            format!("if {variable} %"),
            format!("if {variable}%"),
            format!("not {variable} "),
        ];
        let alone = |source: &String, phrase: &String| {
            source.match_indices(phrase.as_str()).any(|(at, _)| {
                let before = source.get(..at).and_then(|text| text.chars().next_back());
                !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
            })
        };
        self.sources.iter().any(|source| phrases.iter().any(|phrase| alone(source, phrase)))
    }

    /// The word of `order` next to `word` that the template compares a variable with; `word` itself if it compares with
    /// none.
    pub fn nearest<'w>(&self, word: &'w str, order: &[&'w str]) -> &'w str {
        let quoted = |word: &str| {
            let forms = [format!("'{word}'"), format!("\"{word}\"")];
            self.sources.iter().any(|source| forms.iter().any(|form| source.contains(form)))
        };
        let Some(place) = order.iter().position(|known| *known == word) else { return word };
        let known = order.iter().enumerate().filter(|(_, known)| quoted(known));
        // "none" turns off what the others choose among.
        let known = known.filter(|(_, known)| **known != "none" || word == "none");
        let nearest = known.min_by_key(|(index, _)| index.abs_diff(place));
        nearest.map_or(word, |(_, known)| *known)
    }

    /// Whether the marks that [`Parser`] looks for are special tokens in this vocabulary: then special tokens must be
    /// kept when the model's text is decoded.
    pub fn has_special_marks(&self, tools: bool) -> bool {
        let marks = self.format.marks();
        let calls = [marks.opener, marks.closer, crate::format::ARGUMENTS];
        let calls = calls.into_iter().filter(|_| tools);
        let reasoning = [THINK.0, THINK.1].into_iter().filter(|_| self.reasons);
        calls.chain(reasoning).any(|mark| self.special(mark).is_some())
    }

    /// The id of a mark that is a special token.
    pub(crate) fn special(&self, mark: &str) -> Option<u32> {
        self.tokenizer.id(mark).filter(|id| self.tokenizer.special_ids().contains(id))
    }

    /// The prompt of a conversation.
    ///
    /// # Errors
    /// [`ConversationError::Template`] if the template refuses the messages, and others if they are none.
    pub fn prompt(&self, exchange: &Exchange) -> Result<Prompt, ConversationError> {
        if let Some(name) = exchange.variables.keys().find(|name| !self.uses(name)) {
            return Err(ConversationError::Variable { name: name.clone() });
        }
        let shown = exchange.choice != ToolChoice::None && !exchange.tools.is_empty();
        let tools: &[Tool] = if shown { &exchange.tools } else { &[] };
        let native = self.format != ToolFormat::Described;
        let view = render::View {
            capabilities: self.capabilities,
            format: self.format,
            knows_developer: self.uses("developer"),
        };
        let marked = self.specials.mark(&exchange.messages, tools);
        let (sources, tools, mark) = match &marked {
            Some((messages, tools, mark)) => (messages.as_slice(), tools.as_slice(), Some(*mark)),
            None => (exchange.messages.as_slice(), tools, None),
        };
        let messages = view.messages(sources, tools)?;
        let mut input = ChatInput::new(messages, exchange.now);
        input.tools = (shown && native).then(|| tools.iter().map(render::tool).collect());
        input.add_generation_prompt = !exchange.continues;
        input.extra = exchange.variables.clone();
        let in_use = if shown && native { &self.with_tools } else { &self.plain };
        let text = in_use.render(&input)?;
        let (text, thinking) = match exchange.continues {
            true => (continued(text, sources)?, Thinking::Never),
            false => {
                let thinking = self.thinking(&text);
                (text, thinking)
            }
        };
        let Some(mark) = mark else { return Ok(Prompt::new(text, thinking)) };
        let (text, marked) = self.specials.read(text, mark);
        Ok(Prompt { text, thinking, marked })
    }

    /// The tokens of a prompt. Special tokens that clients wrote into messages, names and tools are letters; those of
    /// the template are special.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, stablemate_text::Error> {
        match &prompt.marked {
            Some(marked) => self.specials.encode(&self.tokenizer, marked),
            None => self.tokenizer.encode(&prompt.text, false),
        }
    }

    /// How a text begins that follows a prompt.
    fn thinking(&self, prompt: &str) -> Thinking {
        let end = prompt.trim_end();
        match self.reasons {
            _ if end.ends_with(THINK.0) => Thinking::Open,
            true if !end.ends_with(THINK.1) => Thinking::May,
            _ => Thinking::Never,
        }
    }

    /// Takes the text apart that the model writes after `prompt`. Calls are looked for if there are tools and the
    /// choice is not [`ToolChoice::None`]; only calls of these tools count.
    pub fn parser(&self, prompt: &Prompt, tools: &[Tool], choice: &ToolChoice) -> Parser {
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        let names = if *choice == ToolChoice::None { Vec::new() } else { names };
        Parser::new(self.format.marks(), prompt.thinking, names)
    }
}

/// A template with the tokenizer's special tokens.
fn with_tokens(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate, ConversationError> {
    let template = ChatTemplate::new(source, tokenizer.bos_token(), tokenizer.eos_token())?;
    let others = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"];
    Ok(others.into_iter().fold(template, |template, role| match tokenizer.special_token(role) {
        Some(token) => template.with_token(role, token),
        None => template,
    }))
}

/// The prompt up to the end of the last message's text, as `continue_final_message` of transformers cuts it.
fn continued(mut prompt: String, messages: &[Message]) -> Result<String, ConversationError> {
    let index = messages.len().saturating_sub(1);
    let refused = |message: &str| ConversationError::Message { index, message: message.to_owned() };
    let last = messages.last().ok_or_else(|| refused("there is no message to go on with"))?;
    if last.role != Role::Assistant || !last.calls.is_empty() {
        return Err(refused("only a message of the assistant without calls can be gone on with"));
    }
    let whole = last.text();
    // Many templates trim what they are given.
    let found = [whole.as_str(), whole.trim()].into_iter().find_map(|text| {
        let at = prompt.rfind(text).filter(|_| !text.is_empty())?;
        Some(at.saturating_add(text.len()))
    });
    let end = found.ok_or_else(|| refused("the template does not show this message's text"))?;
    prompt.truncate(end);
    Ok(prompt)
}
