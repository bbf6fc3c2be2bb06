//! What completions and embeddings take: texts or token ids, one or several.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::state::AppState;

/// More prompts in a request are refused.
const MOST_PROMPTS: usize = 2048;

/// One prompt or several, each as text or as token ids.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompts {
    /// Texts.
    Texts(Vec<String>),
    /// Token ids.
    Ids(Vec<Vec<u32>>),
}

/// A string, an array of strings, an array of token ids, or an array of arrays of token ids.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub(crate) enum PromptSchema {
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Token ids.
    Ids(Vec<u32>),
    /// Token ids of several prompts.
    ManyIds(Vec<Vec<u32>>),
}

/// An element of an array of prompts.
enum Item {
    Text(String),
    Id(u32),
    Ids(Vec<u32>),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Item;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, a token id or an array of token ids")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<Item, E> {
                let wrong = |_| E::custom(format!("{id} is no token id: they are below 2^32"));
                u32::try_from(id).map(Item::Id).map_err(wrong)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Item, E> {
                // A whole number is an integer however it is written.
                match number as u32 {
                    id if f64::from(id) == number => Ok(Item::Id(id)),
                    _ => Err(E::invalid_type(Unexpected::Float(number), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = items.next_element()? {
                    ids.push(id);
                }
                Ok(Item::Ids(ids))
            }
        }
        deserializer.deserialize_any(Items)
    }
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outer;
        impl<'de> Visitor<'de> for Outer {
            type Value = Prompts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    "a string, or an array of strings, of token ids or of arrays of token ids",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Prompts, E> {
                Ok(Prompts::Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Prompts, A::Error> {
                gather(items)
            }
        }
        deserializer.deserialize_any(Outer)
    }
}

/// All elements, which must be of the first one's kind.
fn gather<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Prompts, A::Error> {
    let (mut texts, mut ids, mut many) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(item) = items.next_element()? {
        match item {
            Item::Text(text) => texts.push(text),
            Item::Id(id) => ids.push(id),
            Item::Ids(ids) => many.push(ids),
        }
        let kinds = [texts.is_empty(), ids.is_empty(), many.is_empty()];
        if kinds.iter().filter(|empty| !**empty).count() > 1 {
            return Err(A::Error::custom(
                "strings, token ids and arrays of token ids are mixed: all elements must be alike",
            ));
        }
    }
    Ok(match (texts.is_empty(), ids.is_empty()) {
        (false, _) => Prompts::Texts(texts),
        (_, false) => Prompts::Ids(vec![ids]),
        _ => Prompts::Ids(many),
    })
}

/// A prompt, ready for the engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prompt {
    /// Its tokens.
    pub(crate) ids: Vec<u32>,
    /// As the client wrote it, if it did.
    pub(crate) text: Option<String>,
}

impl Prompts {
    /// The tokens of all prompts. Takes its time: to be called inside [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming `parameter`: no prompts or too many, an empty one, texts without a tokenizer, ids outside the vocabulary.
    pub(crate) fn encode(
        self,
        state: &AppState,
        parameter: &str,
        add_special: bool,
    ) -> Result<Vec<Prompt>, ApiError> {
        let prompts: Vec<Prompt> = match self {
            Self::Texts(texts) => {
                check_count(texts.len(), parameter)?;
                let tokenizer = state.tokenizer()?;
                // What cannot fit is refused before anything is encoded.
                for text in &texts {
                    state.check_bytes(parameter, text.len())?;
                }
                let encode = |text: String| {
                    let encode = |text: &str| tokenizer.encode(text, add_special);
                    let ids = state.encode(parameter, &text, encode)?;
                    Ok(Prompt { ids, text: Some(text) })
                };
                texts.into_iter().map(encode).collect::<Result<_, ApiError>>()?
            }
            Self::Ids(prompts) => {
                check_count(prompts.len(), parameter)?;
                prompts.into_iter().map(|ids| Prompt { ids, text: None }).collect()
            }
        };
        let vocabulary = state.served()?.engine.vocabulary();
        for (index, prompt) in prompts.iter().enumerate() {
            let wrong =
                |message: String| ApiError::parameter(format!("{parameter}[{index}]"), message);
            if prompt.ids.is_empty() {
                return Err(wrong(format!(
                    "{parameter}[{index}] is empty: at least one token is needed"
                )));
            }
            if let Some(id) = prompt.ids.iter().find(|id| **id as usize >= vocabulary) {
                return Err(wrong(format!(
                    "token id {id} is not in the vocabulary of {vocabulary}"
                )));
            }
        }
        Ok(prompts)
    }
}

fn check_count(count: usize, parameter: &str) -> Result<(), ApiError> {
    if (1..=MOST_PROMPTS).contains(&count) {
        return Ok(());
    }
    let message =
        format!("{parameter} has {count} elements, but must have from 1 to {MOST_PROMPTS}");
    Err(ApiError::parameter(parameter, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Prompts, String> {
        crate::wire::body::parse(text.as_bytes(), &crate::wire::Reading::default())
            .map_err(|error| error.detail().message.clone())
    }

    #[test]
    fn all_forms() {
        assert_eq!(read(r#""a""#), Ok(Prompts::Texts(vec!["a".into()])));
        assert_eq!(read(r#"["a", "b"]"#), Ok(Prompts::Texts(vec!["a".into(), "b".into()])));
        assert_eq!(read("[1, 2]"), Ok(Prompts::Ids(vec![vec![1, 2]])));
        assert_eq!(read("[[1], [2, 3]]"), Ok(Prompts::Ids(vec![vec![1], vec![2, 3]])));
        assert_eq!(read("[]"), Ok(Prompts::Ids(vec![])));
        assert_eq!(read("[1, 2.0]"), Ok(Prompts::Ids(vec![vec![1, 2]])));
        assert_eq!(read("[[1.0]]"), Ok(Prompts::Ids(vec![vec![1]])));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("5", "expected a string, or an array"),
            ("[-1]", "integer `-1`"),
            ("[1.5]", "floating point `1.5`"),
            ("[1e308]", "floating point `1e308`"),
            ("[4294967296]", "4294967296 is no token id"),
            (r#"[1, "a"]"#, "mixed"),
            ("[[1], [[2]]]", "expected"),
            (r#"[["a"]]"#, "expected"),
            ("[null]", "null"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
