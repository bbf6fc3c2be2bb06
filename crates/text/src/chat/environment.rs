//! The Jinja environment of transformers (`_compile_jinja_template` in `utils/chat_template_utils.py`).

use super::{FUEL, filters, json, methods, python, refusal};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Rest;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

/// What a template said with `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    environment.set_formatter(python::write);
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("cycler", |items: Rest<Value>| {
        minijinja_contrib::globals::cycler(items.to_vec())
    });
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_filter("tojson", json::tojson);
    filters::add(&mut environment);
    environment
}

fn raise_exception(message: &Value) -> Result<Value, minijinja::Error> {
    let message = python::text(message)?;
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message.clone())
        .with_source(Raised(message)))
}

/// Fails if something nests deeper than any data does, before the program's stack is exhausted.
pub(super) fn check_depth(depth: usize) -> Result<(), minijinja::Error> {
    if depth > 200 { Err(refusal("a value nests more than 200 levels deep")) } else { Ok(()) }
}
