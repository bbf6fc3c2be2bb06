//! The Jinja environment of transformers (`_compile_jinja_template` in `utils/chat_template_utils.py`).

use super::{FUEL, filters, json, methods, python, refusal};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, ValueKind, from_args};
use minijinja::{Environment, ErrorKind, State, UndefinedBehavior, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    environment.add_function("cycler", cycler);
    environment.add_function("dict", dict);
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

/// `dict(pairs or mapping, **more)`.
fn dict(from: Option<Value>, more: Kwargs) -> Result<Value, minijinja::Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(from) = from {
        for item in from.try_iter()? {
            match from.kind() {
                ValueKind::Map => pairs.push((item.clone(), from.get_item(&item)?)),
                _ if item.len() == Some(2) => {
                    let at = |index: usize| item.get_item_by_index(index);
                    pairs.push((at(0)?, at(1)?));
                }
                _ => return Err(refusal("dict: pairs are needed")),
            }
        }
    }
    for name in more.args() {
        pairs.push((Value::from(name), more.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// `cycler(*items)`: goes through its items again and again.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

fn cycler(items: Rest<Value>) -> Result<Value, minijinja::Error> {
    if items.is_empty() {
        return Err(refusal("cycler: at least one item is needed"));
    }
    Ok(Value::from_object(Cycler { items: items.to_vec(), at: AtomicUsize::new(0) }))
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let current = self.items.get(self.at.load(Ordering::Relaxed)).cloned();
        current.filter(|_| key.as_str() == Some("current"))
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, minijinja::Error> {
        let () = from_args(args)?;
        let at = self.at.load(Ordering::Relaxed);
        let next = match method {
            "next" => (at + 1) % self.items.len().max(1),
            "reset" => 0,
            _ => return Err(minijinja::Error::from(ErrorKind::UnknownMethod)),
        };
        self.at.store(next, Ordering::Relaxed);
        let item = || self.items.get(at).cloned().unwrap_or_default();
        Ok(if method == "next" { item() } else { Value::from(()) })
    }
}

/// Fails if something nests deeper than any data does, before the program's stack is exhausted.
pub(super) fn check_depth(depth: usize) -> Result<(), minijinja::Error> {
    if depth > 200 { Err(refusal("a value nests more than 200 levels deep")) } else { Ok(()) }
}
