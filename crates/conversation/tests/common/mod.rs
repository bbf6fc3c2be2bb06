//! Templates in the manner of the known formats, and a vocabulary.

#![allow(dead_code, reason = "each test uses its share")]

use stablemate_conversation::{Conversation, Exchange, Message, Prompt, Role, Thinking, Tool};
use stablemate_text::{LocalTime, Tokenizer};
use std::path::PathBuf;
use std::time::SystemTime;

/// Calls in tags, and reasoning that can be turned off.
pub const HERMES: &str = r#"
{%- if tools %}{{ '<|im_start|>system\n' }}
{%- if messages[0].role == 'system' %}{{ messages[0].content + '\n' }}{% endif %}
{{- 'Write <tool_call>{"name": f, "arguments": a}</tool_call>.\n' }}
{%- for tool in tools %}{{ tool | tojson }}{{ '\n' }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}{{ '<|im_start|>user\n[' + message.name + ' says] ' + message.content + '<|im_end|>\n' }}
{%- elif message.role != 'system' or not tools %}{{ '<|im_start|>' + message.role + '\n' }}
{%- if message.reasoning_content %}{{ '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}{% endif %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}{{ '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}
{{- '<|im_end|>\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"#;

/// Knows neither tools nor reasoning, and no results of calls.
pub const PLAIN: &str = "{% for message in messages %}{% if message.role not in ['system', 'user', 'assistant'] %}\
    {{ raise_exception('unknown role ' + message.role) }}{% endif %}\
    {{ '<' + message.role + '>' + message.content + '\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}";

/// Bare JSON, one call at a time, the arguments as an object.
pub const LLAMA: &str = r#"
{%- if tools %}{{ 'Respond with {"name": f, "parameters": p}.\n' }}
{%- for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}
{%- for message in messages %}{{ '<|start_header_id|>' + message.role + '\n' }}
{%- if 'tool_calls' in message %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}
{{- '{"name": "' + message.tool_calls[0].function.name + '", "parameters": ' }}{{ message.tool_calls[0].function.arguments | tojson }}{{ '}' }}
{%- else %}{{ message.content }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant\n' }}{% endif %}"#;

/// A list after a mark; ids of nine characters.
pub const MISTRAL: &str = r#"
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools is not none and loop.last %}{{ '[AVAILABLE_TOOLS]' }}{{ tools | tojson }}{{ '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST]' + message.content + '[/INST]' }}
{%- elif message.tool_calls is defined %}{{ '[TOOL_CALLS][' }}
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('an id has nine characters') }}{% endif %}
{{- '{"name": "' + call.function.name + '", "arguments": ' }}{{ call.function.arguments | tojson }}{{ ', "id": "' + call.id + '"}' }}{% endfor %}{{ ']' }}
{%- elif message.role == 'tool' %}{{ '[TOOL_RESULTS]' + message.tool_call_id + ' ' + message.content }}
{%- else %}{{ message.content }}{% endif %}{% endfor %}"#;

/// The name between two marks; the arguments as text.
pub const NAMED: &str = r#"
{%- for tool in tools or [] %}{{ tool.function.name }}{% endfor %}
{%- for message in messages %}{{ message.role }}{{ ':' }}
{%- for call in message.tool_calls or [] %}{{ '[TOOL_CALLS]' + call.function.name + '[ARGS]' + call.function.arguments }}{% endfor %}
{{- message.content if message.content else '' }}{% endfor %}"#;

/// Ends the prompt inside of the reasoning.
pub const OPEN: &str = "{% for message in messages %}{{ message.content.split('</think>')[-1] }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}";

/// The vocabulary of a fixture.
pub fn tokenizer(kind: &str) -> Tokenizer {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tokenizers");
    Tokenizer::from_file(&root.join(kind).join("tokenizer.json")).unwrap()
}

/// A conversation with one of the templates.
pub fn conversation(template: &str) -> Conversation {
    Conversation::new(&tokenizer("qwen2"), Some(template)).unwrap()
}

/// The beginning of time.
pub fn now() -> LocalTime {
    LocalTime { time: SystemTime::UNIX_EPOCH, utc_offset_seconds: 0 }
}

/// Two functions.
pub fn tools() -> Vec<Tool> {
    let parameters = serde_json::json!({
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
        "additionalProperties": false
    });
    vec![
        Tool {
            name: "weather".into(),
            description: Some("The weather.".into()),
            parameters: Some(parameters),
            strict: true,
            place: "tools[0]".into(),
        },
        Tool {
            name: "time".into(),
            description: None,
            parameters: None,
            strict: true,
            place: "tools[1]".into(),
        },
    ]
}

/// A question, with the two functions.
pub fn question() -> Exchange {
    let mut exchange = Exchange::new(vec![Message::new(Role::User, "Hello")], now());
    exchange.tools = tools();
    exchange
}

/// A prompt of no text.
pub fn prompt(thinking: Thinking) -> Prompt {
    Prompt::new("", thinking)
}
