//! [`Grammars`]: grammars compiled for one vocabulary.

use std::sync::Arc;
use std::thread;

use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use stablemate_engine::Constraint;
use stablemate_text::Tokenizer;
use toktrie::InferenceCapabilities;

use crate::follow::{Follow, reason};
use crate::vocabulary::Vocabulary;
use crate::{GrammarError, lark, pattern, schema};

/// Bytes of a regular expression, of a grammar, and of all choices together.
const LONGEST_SOURCE: usize = 256 << 10;

/// Bytes of stack for compiling: llguidance recurses as deeply as a schema's references go.
const STACK: usize = 64 << 20;

/// What a text must look like.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Grammar {
    /// JSON that this schema (draft 2020-12, or the older drafts' spellings) accepts. White space is at most one space
    /// after a comma or a colon; properties come in the order of the schema. Some valid values are never written:
    /// properties that the schema neither names nor asks for, strings with `\u` escapes, bounded numbers with
    /// exponents. Nothing invalid is.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
    /// A text that this regular expression (syntax of the `regex` crate, without look-around) matches as a whole.
    Regex(String),
    /// A grammar in llguidance's dialect of Lark, with `start` as its first rule. `<name>` is a special token,
    /// `<[17]>` the token of an id; `%json {…}` is a schema with the rules of [`Grammar::JsonSchema`].
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A grammar as llama.cpp writes it: refused by name, since llguidance cuts texts into lexemes and would not
    /// follow it exactly.
    Gbnf(String),
}

/// Compiles grammars for one vocabulary. Cheap to clone, and shared between threads.
#[derive(Clone)]
pub struct Grammars {
    shared: Arc<Shared>,
}

struct Shared {
    vocabulary: Arc<Vocabulary>,
    factory: ParserFactory,
    tokenizer: Tokenizer,
}

impl Grammars {
    /// Prepares a vocabulary, once per model: `vocabulary` is the number of the model's logits, of which those beyond
    /// the tokenizer's own are never allowed; every one of `end_ids` may end a text where the grammar lets it end.
    ///
    /// # Errors
    /// [`GrammarError::Tokenizer`] if an end token is not in the vocabulary, or the vocabulary is too large.
    pub fn new(
        tokenizer: &Tokenizer,
        vocabulary: usize,
        end_ids: &[u32],
    ) -> Result<Grammars, GrammarError> {
        let vocabulary = Arc::new(Vocabulary::new(tokenizer, vocabulary, end_ids)?);
        let wrong = |error| GrammarError::Tokenizer { message: reason(&error) };
        let slices = SlicedBiasComputer::general_slices();
        let capabilities = InferenceCapabilities::default();
        let mut factory =
            ParserFactory::new(&vocabulary.environment, capabilities, &slices).map_err(wrong)?;
        factory.quiet();
        *factory.limits_mut() = limits();
        let shared = Shared { vocabulary, factory, tokenizer: tokenizer.clone() };
        Ok(Grammars { shared: Arc::new(shared) })
    }

    /// A constraint at the beginning of a text. Takes milliseconds for most grammars and is bounded for all; it may
    /// run on any thread.
    ///
    /// # Errors
    /// Every [`GrammarError`] but [`GrammarError::Tokenizer`].
    pub fn compile(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, GrammarError> {
        let follow = Follow::new(self.shared.vocabulary.clone(), self.matcher_of(grammar)?);
        Ok(Box::new(follow))
    }

    fn matcher_of(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        on_large_stack(|| {
            let (source, kind) = source(grammar)?;
            self.matcher(source).map_err(|message| match grammar {
                Grammar::JsonSchema(value) => schema::explain(value, message),
                _ => kind.error(message),
            })
        })
    }

    /// Several constraints at the beginning of a text. The grammar is compiled once.
    ///
    /// # Errors
    /// As [`Grammars::compile`].
    pub fn compile_all(
        &self,
        grammar: &Grammar,
        count: usize,
    ) -> Result<Vec<Box<dyn Constraint>>, GrammarError> {
        let first = self.matcher_of(grammar)?;
        let vocabulary = &self.shared.vocabulary;
        let constraint = |matcher| Box::new(Follow::new(vocabulary.clone(), matcher)) as Box<_>;
        let more = (1..count).map(|_| constraint(first.deep_clone())).collect::<Vec<_>>();
        Ok(more.into_iter().chain([constraint(first)]).collect())
    }

    /// Whether a schema can be guaranteed.
    ///
    /// # Errors
    /// As [`Grammars::compile`].
    pub fn check(&self, schema: &Value) -> Result<(), GrammarError> {
        self.compile(&Grammar::JsonSchema(schema.clone())).map(drop)
    }

    /// A schema without what cannot be guaranteed of it, and what that was: JSON pointers and keywords. Where nothing
    /// else helps, it is that of any object.
    pub fn loosened(&self, schema: &Value) -> (Value, Vec<(String, String)>) {
        schema::loosened(schema, |schema| {
            schema::prepare_widely(schema)?;
            self.check(schema)
        })
    }

    /// How a text is written in [`Grammar::Lark`]: by its token if it is a mark of the vocabulary (`<tool_call>`),
    /// which no string of a grammar can match, and as a string otherwise.
    pub fn lark_text(&self, text: &str) -> String {
        let shared = &*self.shared;
        let id = shared.tokenizer.id(text);
        let mark = |id: &u32| shared.vocabulary.environment.tok_trie().is_special_token(*id);
        match id.filter(mark) {
            Some(id) => format!("<[{id}]>"),
            None => lark::string(text),
        }
    }

    fn matcher(&self, source: GrammarWithLexer) -> Result<Matcher, String> {
        let grammar = TopLevelGrammar::from_grammar(source);
        let parser = self.shared.factory.create_parser(grammar);
        let mut matcher = Matcher::new(parser);
        if let Some(error) = matcher.get_error() {
            return Err(reason(&error));
        }
        match matcher.grammar_warnings().as_slice() {
            [] => Ok(matcher),
            warnings => Err(warnings.join("; ")),
        }
    }
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let vocabulary = self.shared.vocabulary.known.vocabulary();
        formatter.debug_struct("Grammars").field("vocabulary", &vocabulary).finish_non_exhaustive()
    }
}

/// What compiling and following may cost. llguidance counts in its own units: about a second for the largest grammar
/// that compiles, and some 250 MB for the states of the largest lexer.
pub(crate) fn limits() -> ParserLimits {
    ParserLimits { verbose_errors: false, step_max_items: 20_000, ..ParserLimits::default() }
}

/// What a grammar is written in, for errors.
#[derive(Clone, Copy)]
enum Kind {
    Regex,
    Other(&'static str),
}

impl Kind {
    fn error(self, message: String) -> GrammarError {
        if schema::is_limit(&message) {
            return GrammarError::TooLarge { message };
        }
        match self {
            Kind::Regex => GrammarError::Regex { message },
            Kind::Other(format) => GrammarError::Grammar { format, message },
        }
    }
}

/// A grammar as llguidance reads it.
fn source(grammar: &Grammar) -> Result<(GrammarWithLexer, Kind), GrammarError> {
    let kind = match grammar {
        Grammar::Regex(_) => Kind::Regex,
        Grammar::Lark(_) => Kind::Other("Lark"),
        Grammar::Choice(_) => Kind::Other("choice"),
        Grammar::Gbnf(_) => Kind::Other("GBNF"),
        Grammar::JsonSchema(_) | Grammar::JsonObject => Kind::Other("JSON"),
    };
    let source = match grammar {
        Grammar::JsonSchema(value) => GrammarWithLexer::from_json_schema(schema::prepare(value)?),
        Grammar::JsonObject => {
            let any = json!({"type": "object", "additionalProperties": true});
            GrammarWithLexer::from_json_schema(schema::prepare(&any)?)
        }
        Grammar::Regex(expression) => {
            length(expression.len())?;
            pattern::check(expression).map_err(|message| GrammarError::Regex { message })?;
            GrammarWithLexer::from_regex(expression)
        }
        Grammar::Lark(text) => {
            length(text.len())?;
            GrammarWithLexer::from_lark(lark::prepare(text)?)
        }
        Grammar::Choice(choices) if choices.is_empty() => {
            return Err(kind.error("there is nothing to choose from".to_owned()));
        }
        Grammar::Choice(choices) => {
            length(choices.iter().map(String::len).sum())?;
            let escaped: Vec<String> =
                choices.iter().map(|text| regex_syntax::escape(text)).collect();
            GrammarWithLexer::from_regex(&escaped.join("|"))
        }
        Grammar::Gbnf(_) => {
            let message = "not supported, since it would not be followed exactly; write it as a regular expression, \
                           a JSON schema or Lark";
            return Err(kind.error(message.to_owned()));
        }
    };
    Ok((source, kind))
}

fn length(bytes: usize) -> Result<(), GrammarError> {
    if bytes <= LONGEST_SOURCE {
        return Ok(());
    }
    let message = format!("it has {bytes} bytes; at most {LONGEST_SOURCE} are possible");
    Err(GrammarError::TooLarge { message })
}

/// Runs where deep recursion has room.
fn on_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, GrammarError> + Send,
) -> Result<T, GrammarError> {
    let failed = |message: String| GrammarError::TooLarge { message };
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("grammar".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| failed(format!("no thread can be started to compile it: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("the compiler gave up on it".to_owned())))
    })
}
