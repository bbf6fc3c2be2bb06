//! `/v1/completions`.

use crate::common::{END, Setup, start};
use serde_json::{Value, json};

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

#[test]
fn a_text_goes_on_until_its_end() {
    let server = start(Setup::default());
    let answer = server
        .complete(json!({"model": "abc", "prompt": "stuv", "temperature": 0, "max_tokens": 16}));
    assert_eq!(text(&answer), "wxyz");
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["model"], "abc");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
    let usage = json!({"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9,
                       "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(answer["usage"], usage);
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(answer["timings"]["predicted_n"], 5);
}

#[test]
fn sixteen_tokens_unless_told_otherwise() {
    let server = start(Setup::default());
    let answer = server.complete(json!({"prompt": "a", "temperature": 0}));
    assert_eq!(text(&answer), "bcdefghijklmnopq");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(
        text(&server.complete(json!({"prompt": "a", "temperature": 0, "max_tokens": 2}))),
        "bc"
    );
    assert_eq!(text(&server.complete(json!({"prompt": "a", "max_tokens": 0}))), "");
}

#[test]
fn prompts_as_ids_and_several_with_n() {
    let server = start(Setup::default());
    let body = json!({"prompt": [[97], [115, 116]], "n": 2, "temperature": 0, "max_tokens": 2, "best_of": 2});
    let answer = server.complete(body);
    let texts: Vec<&Value> =
        answer["choices"].as_array().unwrap().iter().map(|c| &c["text"]).collect();
    assert_eq!(texts, ["bc", "bc", "uv", "uv"]);
    assert_eq!(answer["choices"][3]["index"], 3);
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    assert_eq!(answer["usage"]["completion_tokens"], 8);
    assert_eq!(
        text(&server.complete(json!({"prompt": [97], "temperature": 0, "max_tokens": 1}))),
        "b"
    );
}

#[test]
fn stop_strings_and_stop_tokens() {
    let server = start(Setup::default());
    let ask = |stop: Value| {
        let mut body = json!({"prompt": "a", "temperature": 0, "max_tokens": 20});
        body.as_object_mut().unwrap().extend(stop.as_object().unwrap().clone());
        server.complete(body)
    };
    let answer = ask(json!({"stop": ["zz", "fgh"]}));
    assert_eq!((text(&answer), &answer["choices"][0]["stop_reason"]), ("bcde", &json!("fgh")));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    // Tokens are those that were made, whether or not their text is shown.
    assert_eq!(answer["usage"]["completion_tokens"], 7);
    assert_eq!(text(&ask(json!({"stop": "e"}))), "bcd");
    // A beginning of a stop string that is not completed is not lost.
    assert_eq!(text(&ask(json!({"stop": "uX"}))), "bcdefghijklmnopqrstu");
    let answer = ask(json!({"stop_token_ids": [101]}));
    assert_eq!((text(&answer), &answer["choices"][0]["stop_reason"]), ("bcd", &json!(101)));
    let answer = server.complete(json!({"prompt": "y", "temperature": 0, "max_tokens": 3, "ignore_eos": true, "skip_special_tokens": false}));
    assert_eq!(text(&answer), "z</s></s>");
}

#[test]
fn characters_are_never_cut() {
    let server = start(Setup::default());
    let body = json!({"prompt": "0", "temperature": 0, "stream": true, "max_tokens": 9});
    let events = server.post("/v1/completions", &body).events();
    let texts: Vec<Value> =
        events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok()).collect();
    assert_eq!(texts[0]["choices"][0]["text"], "東");
    assert_eq!(texts[1]["choices"][0]["text"], "!");
    let body = json!({"prompt": "0", "temperature": 0, "max_tokens": 2});
    assert_eq!(text(&server.complete(body)), "\u{fffd}");
}

#[test]
fn a_stream_ends_with_its_reason_usage_and_done() {
    let server = start(Setup::default());
    let body = json!({"prompt": "w", "temperature": 0, "stream": true, "stream_options": {"include_usage": true}});
    let answer = server.post("/v1/completions", &body);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let events = answer.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let texts: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(texts, "xyz");
    let [.., finish, usage] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["usage"], Value::Null);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["total_tokens"], 5);
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[test]
fn log_probabilities_of_the_answer_and_of_the_prompt() {
    let server = start(Setup::default());
    // As lm-eval asks for the likelihood of a text.
    let body = json!({"model": "abc", "prompt": [97, 98, 120], "max_tokens": 1, "logprobs": 1, "echo": true, "temperature": 0});
    let answer = server.complete(body.clone());
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(text(&answer), "abxy");
    assert_eq!(logprobs["tokens"], json!(["a", "b", "x", "y"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3]));
    // The largest logit is 1 among zeros.
    let total = 1f64.exp() + 257.0;
    let found: Vec<Option<f64>> =
        serde_json::from_value(logprobs["token_logprobs"].clone()).unwrap();
    assert_eq!(found[0], None);
    for (found, logit) in found[1..].iter().zip([1.0, 0.0, 1.0]) {
        assert!((found.unwrap() - (logit - total.ln())).abs() < 1e-5, "{found:?}");
    }
    assert_eq!(logprobs["top_logprobs"][0], Value::Null);
    assert_eq!(logprobs["top_logprobs"][1].as_object().unwrap().len(), 1);
    // `x` was not expected: the token itself comes besides.
    let top = logprobs["top_logprobs"][2].as_object().unwrap();
    assert_eq!(top.keys().collect::<Vec<_>>(), ["c", "x"]);

    let mut streamed = body;
    streamed["stream"] = json!(true);
    let events = server.post("/v1/completions", &streamed).events();
    let tokens: Vec<Value> = events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["tokens"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(json!(tokens), logprobs["tokens"]);
}

#[test]
fn the_end_token_has_a_log_probability_and_no_text() {
    let server = start(Setup::default());
    let body = json!({"prompt": "z", "max_tokens": 4, "logprobs": 0, "temperature": 0});
    let answer = server.complete(body);
    assert_eq!(text(&answer), "");
    assert_eq!(answer["choices"][0]["logprobs"]["tokens"], json!(["</s>"]));
    assert_eq!(answer["choices"][0]["stop_reason"], json!(END));
}

#[test]
fn parts_of_characters_are_written_as_bytes() {
    let server = start(Setup::default());
    let body = json!({"prompt": "0", "max_tokens": 4, "logprobs": 1, "temperature": 0});
    let answer = server.complete(body);
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!([r"bytes:\xe6", r"bytes:\x9d", r"bytes:\xb1", "!"]));
    assert_eq!(logprobs["text_offset"], json!([0, 0, 0, 1]));
}

#[test]
fn tokens_after_a_stop_string_are_not_shown() {
    let server = start(Setup::default());
    let body =
        json!({"prompt": "a", "max_tokens": 9, "logprobs": 0, "stop": "de", "temperature": 0});
    let answer = server.complete(body);
    assert_eq!(answer["choices"][0]["logprobs"]["tokens"], json!(["b", "c"]));
}

#[test]
fn echo_without_log_probabilities() {
    let server = start(Setup::default());
    let body = json!({"prompt": ["w", "x"], "echo": true, "temperature": 0});
    let answer = server.complete(body);
    assert_eq!(answer["choices"][0]["text"], "wxyz");
    assert_eq!(answer["choices"][1]["text"], "xyz");
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let server = start(Setup::default());
    let ask = |seed: i64| {
        let body = json!({"prompt": "a", "seed": seed, "max_tokens": 30, "temperature": 1.5, "ignore_eos": true});
        text(&server.complete(body)).to_owned()
    };
    assert_eq!(ask(-7), ask(-7));
    assert_ne!(ask(1), ask(2));
}

#[test]
fn biases_and_penalties_reach_the_sampler() {
    let server = start(Setup::default());
    let body = json!({"prompt": "a", "temperature": 0, "max_tokens": 1, "logit_bias": {"122": 5}});
    assert_eq!(text(&server.complete(body)), "z");
    // Dots for ever, until they cost more than what everything else is worth.
    let body = json!({"prompt": ".", "temperature": 0, "max_tokens": 3, "frequency_penalty": 1.5});
    assert_eq!(text(&server.complete(body)).matches('.').count(), 1);
    let body = json!({"prompt": "......", "temperature": 0, "max_tokens": 3, "dry_multiplier": 2});
    assert!(!text(&server.complete(body)).starts_with('.'));
}

#[test]
fn structured_outputs_are_obeyed() {
    let server = start(Setup::default());
    let ask = |wanted: Value| {
        // White space would be free for ever.
        let bias = json!({"9": -100, "10": -100, "13": -100, "32": -100});
        let body = json!({"logit_bias": bias, "prompt": "a", "temperature": 0, "max_tokens": 40, "structured_outputs": wanted});
        text(&server.complete(body)).to_owned()
    };
    // Of the tokens that may follow, none is what the model would say: the first of equals.
    assert_eq!(ask(json!({"regex": "[0-9]{3}"})), "000");
    assert_eq!(ask(json!({"choice": ["red", "blue"]})), "blue");
    let schema = json!({"type": "object", "properties": {"ok": {"const": true}}, "required": ["ok"], "additionalProperties": false});
    let found: Value = serde_json::from_str(&ask(json!({"json": schema}))).unwrap();
    assert_eq!(found, json!({"ok": true}));
}
