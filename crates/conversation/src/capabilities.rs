//! What a template can do, found out by rendering small conversations with it.

use serde_json::{Value, json};
use stablemate_text::{ChatInput, ChatTemplate, LocalTime};
use std::time::SystemTime;

/// Words that no template contains by itself.
const FUNCTION: &str = "stablemate_probe_function";
const KEY: &str = "stablemate_probe_key";
const TEXT: &str = "stablemate probe text";

/// An id of the form that the strictest templates ask for: nine letters and digits.
const ID: &str = "probe0001";

/// What a template can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// It shows the tools it is given.
    pub(crate) tools: bool,
    /// It shows the calls that an assistant made.
    pub(crate) calls: bool,
    /// It wants a call's arguments as an object, and not as text.
    pub(crate) objects: bool,
    /// A message without content must have an empty one.
    pub(crate) empty: bool,
    /// It shows the results of calls.
    pub(crate) results: bool,
    /// It shows system messages.
    pub(crate) system: bool,
    /// It wants content as a list of parts.
    pub(crate) parts: bool,
}

impl Capabilities {
    /// Probes the template for conversations without tools and that for those with tools, often the same one.
    pub(crate) fn of(plain: &ChatTemplate, with_tools: &ChatTemplate) -> Capabilities {
        let shows = |template: &ChatTemplate, messages: Value, tools: bool, text: &str| {
            render(template, messages, tools).is_some_and(|prompt| prompt.contains(text))
        };
        let user = |content: Value| json!({"role": "user", "content": content});
        let hello = || user(json!("Hello"));
        let as_parts = json!([{"type": "text", "text": TEXT}]);
        let parts = !shows(plain, json!([user(json!(TEXT))]), false, TEXT)
            && shows(plain, json!([user(as_parts)]), false, TEXT);
        let system = json!([{"role": "system", "content": TEXT}, hello()]);
        let call = |arguments: Value, content: Value| {
            json!([hello(), {"role": "assistant", "content": content, "tool_calls": [
                {"id": ID, "type": "function", "function": {"name": FUNCTION, "arguments": arguments}}
            ]}, {"role": "tool", "tool_call_id": ID, "name": FUNCTION, "content": TEXT}])
        };
        let attempts = [(true, false), (true, true), (false, false), (false, true)];
        let written = attempts.into_iter().find_map(|(objects, empty)| {
            let arguments =
                if objects { json!({KEY: 1}) } else { json!(format!("{{\"{KEY}\": 1}}")) };
            let content = if empty { json!("") } else { Value::Null };
            let prompt = render(with_tools, call(arguments, content), true)?;
            let good = is_json(&prompt) && (empty || !prompt.contains("None"));
            good.then_some((objects, empty, prompt.contains(TEXT)))
        });
        let (objects, empty, results) = written.unwrap_or((true, true, false));
        Capabilities {
            tools: shows(with_tools, json!([hello()]), true, FUNCTION),
            calls: written.is_some(),
            objects,
            empty,
            results,
            system: shows(plain, system, false, TEXT),
            parts,
        }
    }
}

/// Whether a call was written with its arguments, and neither as Python prints them nor as text inside of text.
fn is_json(prompt: &str) -> bool {
    prompt.contains(KEY)
        && !prompt.contains(&format!("'{KEY}'"))
        && !prompt.contains(&format!("\\\"{KEY}"))
}

fn render(template: &ChatTemplate, messages: Value, tools: bool) -> Option<String> {
    let now = LocalTime { time: SystemTime::UNIX_EPOCH, utc_offset_seconds: 0 };
    let mut input = ChatInput::new(messages, now);
    input.tools = tools.then(|| {
        let parameters = json!({"type": "object", "properties": {"a": {"type": "string", "description": "A letter."}}});
        json!([{"type": "function", "function":
            {"name": FUNCTION, "description": "Does nothing.", "parameters": parameters}}])
    });
    template.render(&input).ok()
}
