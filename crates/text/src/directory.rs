//! A tokenizer in a Hugging Face directory: `tokenizer.json` and the files that say how it is used.

use crate::definition::{self, Definition};
use crate::error::Error;
use crate::tokenizer::{Names, Parts, Tokenizer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::AddedToken;

/// Tokenizers of other kinds, which a directory may hold instead of `tokenizer.json`.
const OTHER_FILES: [&str; 5] =
    ["tokenizer.model", "tekken.json", "spiece.model", "vocab.json", "tiktoken.model"];

/// Keys of `tokenizer_config.json` that name a special token.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl Tokenizer {
    /// Reads a `tokenizer.json` alone: no chat template, and no roles of special tokens.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Invalid`] and [`Error::Unsupported`], naming the file and the key.
    pub fn from_file(path: &Path) -> Result<Tokenizer, Error> {
        let origin = path.display().to_string();
        let definition = definition::read(&read(path)?, &origin)?;
        Ok(assemble(definition, Names { origin, ..Names::default() }))
    }

    /// Reads `tokenizer.json` and what stands beside it: `tokenizer_config.json` and
    /// `special_tokens_map.json` (special tokens), and the chat templates (`chat_template.jinja`,
    /// `additional_chat_templates/*.jinja`, `tokenizer_config.json`, `chat_template.json`, the
    /// first that exists). `None` if the directory holds no tokenizer.
    ///
    /// Follows `TokenizersBackend` of transformers 5: what is put around a text stands in
    /// `tokenizer.json` alone, and `add_bos_token` and `add_eos_token` of `tokenizer_config.json`
    /// are not read. transformers 4 obeyed them for some classes, and llama.cpp's converter copies
    /// them into GGUF files, whose own keys are obeyed.
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`]; [`Error::Unsupported`] if there is a tokenizer, but not as
    /// `tokenizer.json`.
    pub fn from_directory(directory: &Path) -> Result<Option<Tokenizer>, Error> {
        let path = directory.join("tokenizer.json");
        if !path.exists() {
            return match OTHER_FILES.iter().find(|name| directory.join(name).exists()) {
                None => Ok(None),
                Some(name) => Err(Error::unsupported(
                    &directory.join(name).display().to_string(),
                    "there is no tokenizer.json beside it, the only kind of tokenizer file read here; \
                     AutoTokenizer.from_pretrained(directory).save_pretrained(directory) of transformers writes one",
                )),
            };
        }
        let origin = path.display().to_string();
        let mut definition = definition::read(&read(&path)?, &origin)?;
        let settings = Settings::read(directory)?;
        settings.add_tokens(&mut definition)?;
        let end =
            settings.roles.get("eos_token").and_then(|eos| definition.library.token_to_id(eos));
        let names = Names {
            roles: settings.roles,
            end: end.into_iter().collect(),
            templates: settings.templates,
            origin: settings.origin,
        };
        Ok(Some(assemble(definition, names)))
    }
}

fn assemble(definition: Definition, names: Names) -> Tokenizer {
    let Definition { library, decoder, prefix, suffix } = definition;
    Tokenizer::new(Parts { library, decoder, prefix, suffix, declared_size: 0, names })
}

fn read(path: &Path) -> Result<String, Error> {
    stablemate_checkpoint::read_text(path).map_err(|error| match error {
        stablemate_checkpoint::Error::Io { path, source } => Error::Read { path, source },
        stablemate_checkpoint::Error::Malformed { path, message } => {
            Error::Invalid { origin: path.display().to_string(), message }
        }
        other => Error::invalid(&path.display().to_string(), other.to_string()),
    })
}

/// The object in a JSON file; an absent file is an empty object.
fn read_object(path: &Path) -> Result<Map<String, Value>, Error> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let origin = path.display().to_string();
    match serde_json::from_str(&read(path)?) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::invalid(&origin, "not a JSON object")),
        Err(e) => Err(Error::invalid(&origin, format!("not JSON: {e}"))),
    }
}

/// What the files beside `tokenizer.json` say.
struct Settings {
    origin: String,
    roles: BTreeMap<String, String>,
    /// Tokens to be added, with the id that `tokenizer_config.json` expects, if it says one.
    tokens: Vec<(Option<u32>, AddedToken)>,
    templates: BTreeMap<String, String>,
}

impl Settings {
    fn read(directory: &Path) -> Result<Settings, Error> {
        let path = directory.join("tokenizer_config.json");
        let origin = path.display().to_string();
        let config = read_object(&path)?;
        let map = read_object(&directory.join("special_tokens_map.json"))?;
        let mut roles = BTreeMap::new();
        let mut tokens = listed_tokens(&config, &origin)?;
        for role in ROLES {
            let token = config.get(role).filter(|token| !token.is_null()).or_else(|| map.get(role));
            let Some(token) = token.filter(|token| !token.is_null()) else { continue };
            let token = added_token(token, &origin, role)?.special(true);
            roles.insert(role.to_owned(), token.content.clone());
            tokens.push((None, token));
        }
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            let list = config.get(key).or_else(|| map.get(key)).and_then(Value::as_array);
            for token in list.into_iter().flatten() {
                tokens.push((None, added_token(token, &origin, key)?.special(true)));
            }
        }
        let templates = templates(directory, &config)?;
        Ok(Settings { origin, roles, tokens, templates })
    }

    /// Makes the library treat as special what only these files know to be special. A token of
    /// `added_tokens_decoder` has its flags from there; one that has a role keeps the flags it has.
    ///
    /// The library goes through all added tokens at every addition, so they are added together.
    fn add_tokens(&self, definition: &mut Definition) -> Result<(), Error> {
        let library = &mut definition.library;
        let listed: Vec<&(Option<u32>, AddedToken)> =
            self.tokens.iter().filter(|(expected, _)| expected.is_some()).collect();
        self.add(library, listed.iter().map(|(_, token)| token.clone()).collect())?;
        for (expected, token) in listed {
            let given = library.token_to_id(&token.content);
            if given != *expected {
                return Err(self.wrong_id(token, *expected, given));
            }
        }
        let mut special = Vec::new();
        for (_, token) in self.tokens.iter().filter(|(expected, _)| expected.is_none()) {
            // A token without an id anywhere would get a new one, beyond the rows of the model's
            // embedding.
            let Some(id) = library.token_to_id(&token.content) else { continue };
            let known = library.get_added_vocabulary().get_added_tokens_decoder().get(&id);
            special.push(known.cloned().unwrap_or_else(|| token.clone()).special(true));
        }
        self.add(library, special)
    }

    /// Adds tokens, but for those that the library has with the same flags.
    fn add(
        &self,
        library: &mut tokenizers::Tokenizer,
        tokens: Vec<AddedToken>,
    ) -> Result<(), Error> {
        let flags = |token: &AddedToken| {
            (token.special, token.single_word, token.lstrip, token.rstrip, token.normalized)
        };
        let added = library.get_added_vocabulary().get_added_tokens_decoder();
        let new = |token: &AddedToken| {
            let known = library.token_to_id(&token.content).and_then(|id| added.get(&id));
            known.is_none_or(|known| flags(known) != flags(token))
        };
        let tokens: Vec<AddedToken> = tokens.into_iter().filter(new).collect();
        let refuse = |e| {
            let first = tokens.first().map(|token| token.content.clone()).unwrap_or_default();
            Error::invalid(&self.origin, format!("tokens from {first:?} on cannot be added: {e}"))
        };
        library.add_tokens(tokens.clone()).map(|_| ()).map_err(refuse)
    }

    fn wrong_id(&self, token: &AddedToken, expected: Option<u32>, found: Option<u32>) -> Error {
        let shown = |id: Option<u32>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let message = format!(
            "added_tokens_decoder: {:?} has id {}, but tokenizer.json gives it {}",
            token.content,
            shown(expected),
            shown(found)
        );
        Error::invalid(&self.origin, message)
    }
}

/// `added_tokens_decoder`: tokens by id, in order of their ids.
fn listed_tokens(
    config: &Map<String, Value>,
    origin: &str,
) -> Result<Vec<(Option<u32>, AddedToken)>, Error> {
    let key = "added_tokens_decoder";
    let listed = match config.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(listed)) => listed,
        Some(_) => return Err(Error::invalid(origin, format!("{key} must be an object"))),
    };
    let mut tokens = BTreeMap::new();
    for (id, token) in listed {
        let parsed: u32 = id.parse().map_err(|_| {
            Error::invalid(origin, format!("{key}: {id:?} is not an id, a 32-bit integer"))
        })?;
        tokens.insert(parsed, added_token(token, origin, key)?);
    }
    Ok(tokens.into_iter().map(|(id, token)| (Some(id), token)).collect())
}

/// A token as these files write it: its text alone, or an object with the text in `content`.
fn added_token(token: &Value, origin: &str, key: &str) -> Result<AddedToken, Error> {
    let content = token.as_str().or_else(|| token.get("content").and_then(Value::as_str));
    let Some(content) = content.filter(|content| !content.is_empty()) else {
        return Err(Error::invalid(origin, format!("{key}: {token} is not a token")));
    };
    let flag = |key: &str| token.get(key).and_then(Value::as_bool).unwrap_or(false);
    Ok(AddedToken::from(content, flag("special"))
        .single_word(flag("single_word"))
        .lstrip(flag("lstrip"))
        .rstrip(flag("rstrip"))
        .normalized(flag("normalized")))
}

/// Chat templates by name, from the first place that has any.
fn templates(
    directory: &Path,
    config: &Map<String, Value>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut templates = template_files(directory)?;
    if templates.is_empty() {
        let origin = directory.join("tokenizer_config.json").display().to_string();
        templates = named_templates(config.get("chat_template"), &origin)?;
    }
    if templates.is_empty() {
        let path = directory.join("chat_template.json");
        let object = read_object(&path)?;
        templates = named_templates(object.get("chat_template"), &path.display().to_string())?;
    }
    Ok(templates)
}

fn template_files(directory: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut templates = BTreeMap::new();
    let default = directory.join("chat_template.jinja");
    if default.exists() {
        templates.insert("default".to_owned(), read(&default)?);
    }
    let more = directory.join("additional_chat_templates");
    if more.is_dir() {
        let entries = std::fs::read_dir(&more)
            .map_err(|source| Error::Read { path: more.clone(), source })?;
        for entry in entries {
            let path = entry.map_err(|source| Error::Read { path: more.clone(), source })?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
            if let (Some(name), true) =
                (name, path.extension().is_some_and(|extension| extension == "jinja"))
            {
                templates.insert(name, read(&path)?);
            }
        }
    }
    Ok(templates)
}

/// `chat_template`: one template, or a list of `{name, template}`.
pub(crate) fn named_templates(
    value: Option<&Value>,
    origin: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let wrong = || {
        Error::invalid(
            origin,
            "chat_template must be a string, or a list of objects with name and template",
        )
    };
    match value {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::String(template)) => {
            Ok(BTreeMap::from([("default".to_owned(), template.clone())]))
        }
        Some(Value::Array(list)) => list
            .iter()
            .map(|entry| {
                let text = |key: &str| {
                    entry.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(wrong)
                };
                Ok((text("name")?, text("template")?))
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}
