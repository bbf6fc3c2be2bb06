//! Values that several requests have in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use stablemate_grammar::Grammar;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::wire::{MaxTokens, shown};

/// A string, or several.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

// By hand and not `untagged`, whose errors say neither where nor what.
impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<OneOrMany, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

/// What to add to logits: token ids, written as strings since JSON's keys are, and numbers from -100 to 100.
#[derive(Clone, Debug, Default, PartialEq, ToSchema)]
#[schema(value_type = std::collections::HashMap<String, f64>)]
pub struct LogitBias(pub Vec<(u32, f64)>);

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = BTreeMap::<String, f64>::deserialize(deserializer)?;
        let entry = |(key, bias): (String, f64)| {
            let id = key.parse().map_err(|_| {
                D::Error::custom(format!("the key {key:?} is not a token id, a whole number"))
            })?;
            if !(-100.0..=100.0).contains(&bias) {
                let message = format!(
                    "the bias of token {id} is {}, but must be from -100 to 100",
                    shown(bias)
                );
                return Err(D::Error::custom(message));
            }
            Ok((id, bias))
        };
        entries.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }
}

/// The most tokens of an answer: an upper bound, of which -1 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = i64)]
pub struct TokenLimit(pub Option<u64>);

impl<'de> Deserialize<'de> for TokenLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limit;
        impl Visitor<'_> for Limit {
            type Value = TokenLimit;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number, 0 or more, or -1 for as many as fit")
            }

            fn visit_u64<E: Error>(self, tokens: u64) -> Result<TokenLimit, E> {
                Ok(TokenLimit(Some(tokens)))
            }

            fn visit_i64<E: Error>(self, tokens: i64) -> Result<TokenLimit, E> {
                match u64::try_from(tokens) {
                    Ok(tokens) => Ok(TokenLimit(Some(tokens))),
                    Err(_) if tokens == -1 => Ok(TokenLimit(None)),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(tokens), &self)),
                }
            }
        }
        deserializer.deserialize_i64(Limit)
    }
}

impl TokenLimit {
    /// What it means for an answer.
    pub(crate) fn limit(self) -> MaxTokens {
        self.0.map_or(MaxTokens::Unlimited, MaxTokens::AtMost)
    }
}

/// What a stream says besides.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// A last chunk with the usage of all.
    pub include_usage: Option<bool>,
    /// With `include_usage`, every chunk says the usage so far.
    pub continuous_usage_stats: Option<bool>,
}

/// What is said of the usage in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StreamUsage {
    /// Nothing.
    #[default]
    Never,
    /// All of it, in a last chunk.
    Last,
    /// As far as it has come, in every chunk.
    Always,
}

impl StreamOptions {
    /// Checks the options of a request that is answered by a `stream` or is not, and says what they ask for.
    ///
    /// # Errors
    /// 400 for options without a stream.
    pub(crate) fn usage(options: Option<&Self>, stream: bool) -> Result<StreamUsage, ApiError> {
        let Some(options) = options else { return Ok(StreamUsage::Never) };
        if !stream {
            let message = "stream_options is given, but stream is not true";
            return Err(ApiError::parameter("stream_options", message));
        }
        Ok(match (options.include_usage, options.continuous_usage_stats) {
            (Some(true), Some(true)) => StreamUsage::Always,
            (Some(true), _) => StreamUsage::Last,
            _ => StreamUsage::Never,
        })
    }
}

/// What the text must look like: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StructuredOutputs {
    /// JSON that this schema accepts.
    pub json: Option<serde_json::Value>,
    /// Any JSON object.
    pub json_object: Option<bool>,
    /// A text that this regular expression matches as a whole.
    pub regex: Option<String>,
    /// One of these texts.
    pub choice: Option<Vec<String>>,
    /// A grammar in llguidance's dialect of Lark.
    pub grammar: Option<String>,
}

impl StructuredOutputs {
    /// The grammar, and the parameter that asks for it.
    ///
    /// # Errors
    /// 400 unless it is exactly one.
    pub(crate) fn grammar(&self) -> Result<(&'static str, Grammar), ApiError> {
        let Self { json, json_object, regex, choice, grammar } = self.clone();
        if json_object == Some(false) {
            let parameter = "structured_outputs.json_object";
            let message = format!("{parameter} is false, but must be true or absent");
            return Err(ApiError::parameter(parameter, message));
        }
        let mut all: Vec<(&'static str, Grammar)> = [
            json.map(|schema| ("structured_outputs.json", Grammar::JsonSchema(schema))),
            json_object.map(|_| ("structured_outputs.json_object", Grammar::JsonObject)),
            regex.map(|regex| ("structured_outputs.regex", Grammar::Regex(regex))),
            choice.map(|choice| ("structured_outputs.choice", Grammar::Choice(choice))),
            grammar.map(|grammar| ("structured_outputs.grammar", Grammar::Lark(grammar))),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => {
                let message = "structured_outputs must have exactly one of json, json_object, regex, choice, grammar";
                Err(ApiError::parameter("structured_outputs", message))
            }
        }
    }
}
