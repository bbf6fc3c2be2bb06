//! The fields that requests may have without being honoured: of which kind each is, and why.
//!
//! A field is *honoured* if the struct of its object has it. All others that clients are known to send stand in
//! [`TABLE`]: *without effect*, since they ask for nothing that changes an answer; or *refused*, since they would change
//! it and cannot be honoured. A field in neither is unknown. `/docs`, `/openapi.json`, the metric and the log follow
//! from this table.

use serde_json::Value;

/// What becomes of a field that is not honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Taken and left alone.
    WithoutEffect,
    /// Refused, unless its value asks for nothing: null, false, "", [], {}, or one of these JSON literals.
    Refused(&'static [&'static str]),
}

impl Kind {
    /// Its name in `/openapi.json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::WithoutEffect => "without effect",
            Kind::Refused(_) => "refused",
        }
    }
}

/// A field that is not honoured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// The objects that may have it, by the names of their structs.
    pub(crate) scopes: &'static [&'static str],
    /// The field.
    pub(crate) name: &'static str,
    /// What becomes of it.
    pub(crate) kind: Kind,
    /// Why.
    pub(crate) reason: &'static str,
}

/// The requests that generate.
const ALL: &[&str] = &[
    "ChatRequest",
    "CompletionRequest",
    "ResponsesRequest",
    "MessagesRequest",
    "CountRequest",
    "EmbeddingRequest",
    "TemplateRequest",
];
const OPENAI: &[&str] = &[
    "ChatRequest",
    "CompletionRequest",
    "ResponsesRequest",
    "EmbeddingRequest",
    "TemplateRequest",
];
const TEXT: &[&str] = &["ChatRequest", "CompletionRequest", "ResponsesRequest"];
const CHAT: &[&str] = &["ChatRequest", "TemplateRequest"];
const CHAT_OR_TEXT: &[&str] = &["ChatRequest", "CompletionRequest"];
const RESPONSES: &[&str] = &["ResponsesRequest"];
const ANTHROPIC: &[&str] = &["MessagesRequest", "CountRequest"];
const TEMPLATE: &[&str] = &["TemplateRequest"];
/// A message of a chat, and its parts.
const MESSAGE: &[&str] = &["MessageRequest"];
const PART: &[&str] = &["PartRequest"];
/// Everything that may carry a mark for a cache.
const CACHEABLE: &[&str] = &[
    "MessagesRequest",
    "CountRequest",
    "ChatRequest",
    "MessageRequest",
    "PartRequest",
    "ToolRequest",
    "FunctionRequest",
    "AnthropicMessage",
    "AnthropicTool",
    "TextBlock",
    "ThinkingBlock",
    "DocumentBlock",
    "SearchResultBlock",
    "ToolUseBlock",
    "ToolResultBlock",
    "TextPart",
];
/// Items of a response's input.
const ITEMS: &[&str] =
    &["MessageItem", "CallItem", "CustomCallItem", "ShellCallItem", "ResultItem", "ReasoningItem"];

const NOTE: &str = "notes of the client: they change no answer";
const WHO: &str = "says who asks, which changes no answer";
const CACHE: &str =
    "a hint to a cache: every prompt is looked up in the cache, and kept while there is room";
const SERVERS_TOOLS: &str =
    "an option of tools that the server would have to run: none is run here";
const PLACE: &str = "chooses among servers or queues: there is one of each";
const FORM: &str = "an option of how another server writes its answers";
const SPEED: &str = "a hint for speed, which changes no answer";
const NO_BUDGET: &str =
    "a budget of the reasoning cannot be kept to: the limit of the whole answer holds";
const WHOLE: &str =
    "conversations are read whole: none is shortened, and one that does not fit is refused";
const SAMPLER: &str = "this way of sampling is not known here";
const NOT_STORED: &str = "nothing is stored, so send the conversation itself";
const UNSEEN: &str =
    "says how another server named or numbered this part, which templates do not show";
const SIGNED: &str = "a proof for another server, which this one neither makes nor checks";

const fn ignored(
    scopes: &'static [&'static str],
    name: &'static str,
    reason: &'static str,
) -> Field {
    Field { scopes, name, kind: Kind::WithoutEffect, reason }
}

const fn refused(
    scopes: &'static [&'static str],
    name: &'static str,
    unless: &'static [&'static str],
    reason: &'static str,
) -> Field {
    Field { scopes, name, kind: Kind::Refused(unless), reason }
}

/// All fields that are known and not honoured.
pub(crate) static TABLE: &[Field] = &[
    // Who asks, and notes.
    ignored(ALL, "user", WHO),
    ignored(ALL, "safety_identifier", WHO),
    ignored(ANTHROPIC, "user_profile_id", WHO),
    ignored(ALL, "session_id", WHO),
    ignored(ALL, "thread", WHO),
    ignored(ALL, "thread_id", WHO),
    ignored(ALL, "request_id", WHO),
    ignored(ALL, "rid", WHO),
    ignored(ALL, "client_metadata", NOTE),
    ignored(
        &[
            "ChatRequest",
            "CompletionRequest",
            "MessagesRequest",
            "CountRequest",
            "EmbeddingRequest",
            "TemplateRequest",
        ],
        "metadata",
        NOTE,
    ),
    ignored(ALL, "trace", NOTE),
    ignored(ALL, "tags", NOTE),
    ignored(ALL, "diagnostics", NOTE),
    ignored(ALL, "moderation", "nothing is moderated here, and answers do not change by it"),
    // Caches.
    ignored(CACHEABLE, "cache_control", CACHE),
    ignored(CACHEABLE, "prompt_cache_breakpoint", CACHE),
    ignored(OPENAI, "prompt_cache_key", CACHE),
    ignored(OPENAI, "prompt_cache_options", CACHE),
    ignored(OPENAI, "prompt_cache_retention", CACHE),
    ignored(OPENAI, "cache_prompt", CACHE),
    ignored(OPENAI, "cache_salt", CACHE),
    ignored(OPENAI, "keep_alive", "the model stays loaded as long as the server runs"),
    ignored(OPENAI, "kv_transfer_params", CACHE),
    // Where and when it is answered.
    ignored(ALL, "service_tier", PLACE),
    ignored(ANTHROPIC, "inference_geo", PLACE),
    ignored(ANTHROPIC, "speed", SPEED),
    ignored(ANTHROPIC, "betas", "names of features: those that are known here need no name"),
    ignored(
        ANTHROPIC,
        "anthropic_beta",
        "names of features: those that are known here need no name",
    ),
    ignored(ANTHROPIC, "anthropic_version", "there is one version of this interface here"),
    ignored(OPENAI, "provider", PLACE),
    ignored(OPENAI, "models", PLACE),
    ignored(OPENAI, "route", PLACE),
    ignored(OPENAI, "plugins", SERVERS_TOOLS),
    ignored(OPENAI, "transforms", WHOLE),
    ignored(OPENAI, "priority", PLACE),
    ignored(OPENAI, "id_slot", PLACE),
    ignored(OPENAI, "slot_id", PLACE),
    ignored(OPENAI, "n_keep", WHOLE),
    ignored(OPENAI, "drop_params", "an option of a client library"),
    ignored(ALL, "context_management", WHOLE),
    ignored(CHAT_OR_TEXT, "prediction", SPEED),
    ignored(TEXT, "speculative", SPEED),
    // What is stored.
    ignored(CHAT, "store", "nothing is stored"),
    ignored(RESPONSES, "store", "nothing is stored, as the answer says"),
    refused(RESPONSES, "previous_response_id", &[], NOT_STORED),
    refused(RESPONSES, "conversation", &[], NOT_STORED),
    refused(RESPONSES, "prompt", &[], NOT_STORED),
    refused(RESPONSES, "background", &[], "an answer lives as long as its connection"),
    refused(ANTHROPIC, "container", &[], "there are no containers here"),
    // Tools that the server would have to run.
    ignored(OPENAI, "web_search_options", SERVERS_TOOLS),
    ignored(OPENAI, "enable_search", SERVERS_TOOLS),
    ignored(ANTHROPIC, "mcp_servers", SERVERS_TOOLS),
    ignored(RESPONSES, "max_tool_calls", SERVERS_TOOLS),
    // Sound and pictures.
    ignored(CHAT, "audio", "answers are text, which this says nothing about"),
    // What answers look like elsewhere.
    refused(
        &["StreamOptions"],
        "include_obfuscation",
        &[],
        "no padding is added, so it must be false",
    ),
    ignored(TEXT, "verbosity", "templates have no place for it"),
    ignored(&["TextRequest"], "verbosity", "templates have no place for it"),
    ignored(&["ReasoningRequest"], "summary", "the reasoning is told whole, and no summary made"),
    ignored(
        &["ReasoningRequest"],
        "generate_summary",
        "the reasoning is told whole, and no summary made",
    ),
    ignored(&["ReasoningRequest"], "context", WHOLE),
    ignored(&["ReasoningRequest"], "mode", SPEED),
    ignored(&["ChatReasoning"], "exclude", "the reasoning is told apart from the content"),
    ignored(&["ChatReasoning"], "summary", "the reasoning is told whole, and no summary made"),
    ignored(&["ChatReasoning"], "max_tokens", NO_BUDGET),
    ignored(&["ChatThinking", "ThinkingRequest"], "budget_tokens", NO_BUDGET),
    ignored(&["ChatThinking"], "clear_thinking", "templates decide what they show of it"),
    ignored(&["OutputConfig"], "task_budget", NO_BUDGET),
    ignored(CHAT, "thinking_budget", NO_BUDGET),
    ignored(CHAT, "thinking_token_budget", NO_BUDGET),
    ignored(CHAT, "reasoning_format", FORM),
    ignored(CHAT, "separate_reasoning", FORM),
    ignored(CHAT, "stream_reasoning", FORM),
    ignored(CHAT, "include_reasoning", FORM),
    ignored(CHAT, "parse_tool_calls", FORM),
    ignored(CHAT, "usage", FORM),
    ignored(CHAT, "snippy", "an option of another server's filter of code"),
    ignored(CHAT, "intent", NOTE),
    ignored(CHAT, "intent_threshold", NOTE),
    ignored(CHAT, "tool_stream", FORM),
    ignored(CHAT_OR_TEXT, "timings_per_token", FORM),
    ignored(CHAT_OR_TEXT, "return_progress", FORM),
    ignored(CHAT_OR_TEXT, "post_sampling_probs", FORM),
    ignored(CHAT_OR_TEXT, "response_fields", FORM),
    ignored(CHAT_OR_TEXT, "spaces_between_special_tokens", FORM),
    ignored(CHAT_OR_TEXT, "detokenize", FORM),
    refused(
        CHAT_OR_TEXT,
        "return_tokens_as_token_ids",
        &[],
        "tokens are told as text: ask for return_token_ids",
    ),
    refused(
        CHAT_OR_TEXT,
        "include_stop_str_in_output",
        &[],
        "a stop string is never part of the text",
    ),
    refused(CHAT, "skip_special_tokens", &["true"], "special tokens are never part of the content"),
    // Older names.
    refused(CHAT, "functions", &[], "it is deprecated: use tools"),
    refused(CHAT, "function_call", &["\"auto\"", "\"none\""], "it is deprecated: use tool_choice"),
    // Ways of sampling that are not known here, and values of them that ask for nothing.
    refused(TEXT, "mirostat", &["0"], SAMPLER),
    ignored(TEXT, "mirostat_tau", "it belongs to mirostat, which is off"),
    ignored(TEXT, "mirostat_eta", "it belongs to mirostat, which is off"),
    refused(TEXT, "dynatemp_range", &["0"], SAMPLER),
    ignored(TEXT, "dynatemp_exponent", "it belongs to dynatemp_range, which is 0"),
    refused(TEXT, "top_a", &["0"], SAMPLER),
    refused(TEXT, "tfs_z", &["1"], SAMPLER),
    refused(TEXT, "top_n_sigma", &["-1", "0"], SAMPLER),
    refused(TEXT, "use_beam_search", &[], SAMPLER),
    refused(TEXT, "length_penalty", &["1"], SAMPLER),
    refused(TEXT, "early_stopping", &[], SAMPLER),
    refused(TEXT, "samplers", &[], "samplers have one order here"),
    refused(TEXT, "bad_words", &[], "use logit_bias"),
    refused(TEXT, "allowed_token_ids", &[], "use logit_bias or structured_outputs"),
    refused(TEXT, "truncate_prompt_tokens", &["-1"], WHOLE),
    refused(TEXT, "lora", &[], "there are no adapters here"),
    refused(TEXT, "n_probs", &["0"], "use logprobs"),
    refused(TEXT, "t_max_predict_ms", &["0"], "answers have no limit of time"),
    refused(TEXT, "n_indent", &["0"], "lines are not indented"),
    refused(TEXT, "grammar", &[], "use structured_outputs.grammar, whose grammars are Lark"),
    refused(TEXT, "json_schema", &[], "use response_format or structured_outputs.json"),
    refused(TEXT, "guided_json", &[], "use structured_outputs.json"),
    refused(TEXT, "guided_regex", &[], "use structured_outputs.regex"),
    refused(TEXT, "guided_choice", &[], "use structured_outputs.choice"),
    refused(TEXT, "guided_grammar", &[], "use structured_outputs.grammar"),
    ignored(TEXT, "guided_decoding_backend", "there is one way of following grammars here"),
    refused(CHAT, "prompt_logprobs", &[], "use /v1/completions with echo"),
    refused(&["CompletionRequest"], "prompt_logprobs", &[], "use echo with logprobs"),
    refused(CHAT, "documents", &[], "put documents into messages"),
    refused(
        CHAT,
        "chat_template",
        &[],
        "the server's template is used: start it with --chat-template-file",
    ),
    refused(CHAT, "echo", &[], "prompts are given back by /v1/completions"),
    refused(TEXT, "image_data", &[], "this model reads text only"),
    refused(CHAT, "mm_processor_kwargs", &[], "this model reads text only"),
    // Of a chat completion whose prompt alone is wanted.
    ignored(TEMPLATE, "temperature", "nothing is generated"),
    ignored(TEMPLATE, "top_p", "nothing is generated"),
    ignored(TEMPLATE, "max_tokens", "nothing is generated"),
    ignored(TEMPLATE, "max_completion_tokens", "nothing is generated"),
    ignored(TEMPLATE, "stream", "nothing is generated"),
    ignored(TEMPLATE, "stream_options", "nothing is generated"),
    ignored(TEMPLATE, "seed", "nothing is generated"),
    ignored(TEMPLATE, "stop", "nothing is generated"),
    ignored(TEMPLATE, "n", "nothing is generated"),
    ignored(TEMPLATE, "response_format", "nothing is generated"),
    ignored(TEMPLATE, "parallel_tool_calls", "nothing is generated"),
    // Messages of a chat, and what is in them.
    ignored(MESSAGE, "index", UNSEEN),
    ignored(MESSAGE, "id", UNSEEN),
    ignored(MESSAGE, "reasoning_details", "reasoning is read from reasoning_content or reasoning"),
    ignored(MESSAGE, "reasoning_opaque", SIGNED),
    ignored(MESSAGE, "reasoning_text", "reasoning is read from reasoning_content or reasoning"),
    ignored(MESSAGE, "reasoning_signature", SIGNED),
    ignored(MESSAGE, "annotations", "sources of an earlier answer, which templates do not show"),
    ignored(MESSAGE, "metadata", NOTE),
    ignored(MESSAGE, "provider_specific_fields", NOTE),
    ignored(MESSAGE, "copilot_cache_control", CACHE),
    ignored(MESSAGE, "finish_reason", UNSEEN),
    ignored(MESSAGE, "logprobs", UNSEEN),
    ignored(MESSAGE, "parsed", "the content says the same"),
    ignored(MESSAGE, "partial", UNSEEN),
    ignored(MESSAGE, "status", UNSEEN),
    ignored(MESSAGE, "timestamp", UNSEEN),
    refused(MESSAGE, "audio", &[], "this model reads text only"),
    refused(MESSAGE, "images", &[], "this model reads text only"),
    refused(MESSAGE, "function_call", &[], "it is deprecated: use tool_calls"),
    refused(PART, "image_url", &[], "this model reads text only"),
    refused(PART, "input_audio", &[], "this model reads text only"),
    refused(PART, "video_url", &[], "this model reads text only"),
    refused(PART, "file", &[], "this model reads text only"),
    ignored(PART, "annotations", "sources of an earlier answer, which templates do not show"),
    ignored(PART, "citations", "sources of an earlier answer, which templates do not show"),
    ignored(PART, "logprobs", UNSEEN),
    ignored(PART, "id", UNSEEN),
    ignored(PART, "index", UNSEEN),
    ignored(PART, "providerOptions", NOTE),
    ignored(&["ToolCallRequest"], "index", UNSEEN),
    ignored(&["ToolCallRequest"], "extra_content", SIGNED),
    ignored(&["ToolCallRequest"], "thought_signature", SIGNED),
    ignored(&["ToolCallRequest"], "provider_specific_fields", NOTE),
    ignored(&["CalledFunction"], "parsed_arguments", "arguments says the same"),
    ignored(&["CalledFunction"], "output", "the message of the tool says the same"),
    ignored(&["ToolRequest", "FunctionRequest"], "copilot_cache_control", CACHE),
    ignored(&["FunctionRequest"], "returns", "the model is not shown what functions return"),
    ignored(&["FunctionRequest"], "response", "the model is not shown what functions return"),
    // Anthropic's blocks and tools.
    ignored(&["AnthropicMessage"], "id", UNSEEN),
    ignored(&["AnthropicMessage"], "type", UNSEEN),
    ignored(&["AnthropicMessage"], "model", UNSEEN),
    ignored(&["AnthropicMessage"], "stop_reason", UNSEEN),
    ignored(&["AnthropicMessage"], "stop_sequence", UNSEEN),
    ignored(&["AnthropicMessage"], "stop_details", UNSEEN),
    ignored(&["AnthropicMessage"], "usage", UNSEEN),
    ignored(&["AnthropicMessage"], "container", UNSEEN),
    ignored(&["AnthropicMessage"], "context_management", UNSEEN),
    ignored(
        &["TextBlock", "DocumentBlock", "SearchResultBlock"],
        "citations",
        "sources of texts are not told here",
    ),
    ignored(&["TextBlock"], "parsed_output", "the text says the same"),
    ignored(&["ThinkingBlock"], "signature", SIGNED),
    ignored(&["ToolUseBlock", "ToolResultBlock"], "caller", "only the model calls functions here"),
    ignored(&["ToolUseBlock", "ToolResultBlock"], "toolset_name", UNSEEN),
    ignored(
        &["AnthropicTool"],
        "eager_input_streaming",
        "arguments are always sent as they are made",
    ),
    ignored(&["AnthropicTool"], "defer_loading", "the model is shown all tools"),
    ignored(&["AnthropicTool"], "input_examples", "the model is not shown examples"),
    ignored(&["ThinkingRequest"], "display", "what the model thinks is told"),
    ignored(&["ThinkingRequest"], "block_mode", FORM),
    // Items and tools of responses.
    ignored(ITEMS, "id", UNSEEN),
    ignored(ITEMS, "status", UNSEEN),
    ignored(ITEMS, "phase", UNSEEN),
    ignored(ITEMS, "caller", "only the model calls functions here"),
    ignored(ITEMS, "internal_chat_message_metadata_passthrough", NOTE),
    ignored(ITEMS, "metadata", NOTE),
    ignored(ITEMS, "created_by", UNSEEN),
    ignored(ITEMS, "agent", UNSEEN),
    ignored(ITEMS, "parsed_arguments", "arguments says the same"),
    ignored(ITEMS, "end_turn", UNSEEN),
    ignored(&["ReasoningItem"], "encrypted_content", SIGNED),
    ignored(
        &["TextPart"],
        "annotations",
        "sources of an earlier answer, which templates do not show",
    ),
    ignored(&["TextPart"], "logprobs", UNSEEN),
    ignored(&["TextPart"], "parsed", "the text says the same"),
    ignored(
        &["ResponseTool", "ResponseCustomTool"],
        "defer_loading",
        "the model is shown all tools",
    ),
    ignored(&["ResponseTool"], "output_schema", "the model is not shown what functions return"),
];

impl Field {
    /// Whether a value of it asks for nothing.
    pub(crate) fn is_neutral(&self, value: &Value) -> bool {
        let empty = match value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(_) => false,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
        };
        let Kind::Refused(literals) = self.kind else { return empty };
        // 1 and 1.0 are the same number.
        let equal = |literal: &&str| match serde_json::from_str::<Value>(literal) {
            Ok(literal) if literal.is_number() => literal.as_f64() == value.as_f64(),
            Ok(literal) => literal == *value,
            Err(_) => false,
        };
        empty || literals.iter().any(equal)
    }
}

/// The field of an object that is known and not honoured.
pub(crate) fn find(scope: &str, name: &str) -> Option<&'static Field> {
    TABLE.iter().find(|field| field.name == name && field.scopes.contains(&scope))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_stands_there_once_with_a_reason() {
        let mut seen = std::collections::BTreeSet::new();
        for field in TABLE {
            assert!(!field.reason.is_empty() && !field.scopes.is_empty(), "{field:?}");
            for scope in field.scopes {
                assert!(seen.insert((*scope, field.name)), "{scope}.{} is there twice", field.name);
            }
            if let Kind::Refused(literals) = field.kind {
                for literal in literals {
                    assert!(serde_json::from_str::<Value>(literal).is_ok(), "{literal}");
                }
            }
        }
    }

    #[test]
    fn values_that_ask_for_nothing_are_no_reason_to_refuse() {
        let field = find("ChatRequest", "mirostat").unwrap();
        for value in [json!(null), json!(0), json!(0.0), json!(false)] {
            assert!(field.is_neutral(&value), "{value}");
        }
        assert!(!field.is_neutral(&json!(2)));
        assert!(find("ChatRequest", "length_penalty").unwrap().is_neutral(&json!(1)));
    }
}
