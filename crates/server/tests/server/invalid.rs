//! Requests that are wrong: every one is answered with an envelope that names the parameter.

use crate::common::{JSON, Server, Setup, start};
use serde_json::{Value, json};

/// Checks the status and, of the envelope, the parameter and words of the message.
fn refused(server: &Server, path: &str, body: &[u8], status: u16, parameter: &str, words: &str) {
    let answer = server.request("POST", path, JSON, body);
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    assert_eq!(answer.status, status, "{shown}: {}", answer.body);
    let error = answer.error();
    assert_eq!(error["param"].as_str().unwrap_or(""), parameter, "{shown}: {error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{shown}: {error}");
}

#[test]
fn completions() {
    let server = start(Setup::default());
    let cases: Vec<(Value, &str, &str)> = vec![
        (json!({}), "prompt", "missing"),
        (json!([]), "", "expected"),
        (json!({"prompt": null}), "prompt", "missing"),
        (json!({"prompt": 5}), "prompt", "integer `5`"),
        (json!({"prompt": []}), "prompt", "0 elements"),
        (json!({"prompt": ""}), "prompt[0]", "empty"),
        (json!({"prompt": [[]]}), "prompt[0]", "empty"),
        (json!({"prompt": [97, 300]}), "prompt[0]", "token id 300 is not in the vocabulary of 258"),
        (json!({"prompt": [97, "a"]}), "prompt", "mixed"),
        (json!({"prompt": [[97], [-1]]}), "prompt[1][0]", "integer `-1`"),
        (json!({"prompt": "a", "typo": 1}), "typo", "unknown field"),
        (
            json!({"prompt": "a", "temperature": "hot"}),
            "temperature",
            "string \"hot\", expected a number",
        ),
        (json!({"prompt": "a", "temperature": -0.5}), "temperature", "-0.5"),
        (json!({"prompt": "a", "temperature": 1e300}), "temperature", "number, 0 or more"),
        (json!({"prompt": "a", "top_p": 0}), "top_p", "above 0"),
        (json!({"prompt": "a", "top_p": 1.5}), "top_p", "1.5"),
        (json!({"prompt": "a", "top_k": -2}), "top_k", "-2"),
        (json!({"prompt": "a", "top_k": 1.5}), "top_k", "1.5"),
        (json!({"prompt": "a", "min_p": 2}), "min_p", "from 0 to 1"),
        (json!({"prompt": "a", "typical_p": 0}), "typical_p", "above 0"),
        (json!({"prompt": "a", "xtc_probability": -1}), "xtc_probability", "from 0 to 1"),
        (json!({"prompt": "a", "xtc_threshold": 7}), "xtc_threshold", "from 0 to 1"),
        (json!({"prompt": "a", "dry_multiplier": -1}), "dry_multiplier", "0 or more"),
        (json!({"prompt": "a", "dry_base": 0.5}), "dry_base", "1 or more"),
        (json!({"prompt": "a", "dry_penalty_last_n": -3}), "dry_penalty_last_n", "-3"),
        (
            json!({"prompt": "a", "dry_multiplier": 1, "dry_sequence_breakers": ["ab"]}),
            "dry_sequence_breakers[0]",
            "no token",
        ),
        (json!({"prompt": "a", "repetition_penalty": 0}), "repetition_penalty", "above 0"),
        (json!({"prompt": "a", "frequency_penalty": 3}), "frequency_penalty", "from -2 to 2"),
        (json!({"prompt": "a", "presence_penalty": -3}), "presence_penalty", "from -2 to 2"),
        (
            json!({"prompt": "a", "logit_bias": {"foo": 1}}),
            "logit_bias",
            "\"foo\" is not a token id",
        ),
        (json!({"prompt": "a", "logit_bias": {"1": 101}}), "logit_bias", "from -100 to 100"),
        (json!({"prompt": "a", "logit_bias": {"258": 1}}), "logit_bias.258", "vocabulary of 258"),
        (json!({"prompt": "a", "logit_bias": []}), "logit_bias", "expected an object"),
        (json!({"prompt": "a", "seed": 1.5}), "seed", "expected a whole number"),
        (json!({"prompt": "a", "max_tokens": -2}), "max_tokens", "-1 for as many as fit"),
        (json!({"prompt": "a", "max_tokens": 1.5}), "max_tokens", "0 or more"),
        (json!({"prompt": "a", "min_tokens": 17}), "min_tokens", "at most 16"),
        (json!({"prompt": "a", "stop": [""]}), "stop", "empty"),
        (json!({"prompt": "a", "stop": 1}), "stop", "a string or an array of strings"),
        (json!({"prompt": "a", "stop": vec!["a"; 65]}), "stop", "64"),
        (json!({"prompt": "a", "stop_token_ids": [999]}), "stop_token_ids[0]", "999"),
        (json!({"prompt": "a", "ignore_eos": "yes"}), "ignore_eos", "a boolean"),
        (json!({"prompt": "a", "n": 0}), "n", "from 1 to 128"),
        (json!({"prompt": "a", "n": 129}), "n", "129"),
        (json!({"prompt": "a", "best_of": 3}), "best_of", "must be 1"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix", "not supported"),
        (json!({"prompt": "a", "logprobs": 21}), "logprobs", "20 at most"),
        (json!({"prompt": "a", "logprobs": true}), "logprobs", "boolean `true`"),
        (json!({"prompt": "a", "stream_options": {}}), "stream_options", "stream is not true"),
        (
            json!({"prompt": "a", "stream": true, "stream_options": {"x": 1}}),
            "stream_options.x",
            "unknown",
        ),
        (
            json!({"prompt": "a", "stream": true, "stream_options": {"include_obfuscation": true}}),
            "stream_options.include_obfuscation",
            "false",
        ),
        (json!({"prompt": "a", "structured_outputs": {}}), "structured_outputs", "exactly one"),
        (
            json!({"prompt": "a", "structured_outputs": {"regex": "a", "json_object": true}}),
            "structured_outputs",
            "exactly one",
        ),
        (
            json!({"prompt": "a", "structured_outputs": {"regex": "("}}),
            "structured_outputs.regex",
            "",
        ),
        (
            json!({"prompt": "a", "response_format": {"type": "json_object"}}),
            "response_format",
            "unknown",
        ),
        (
            json!({"prompt": "a".repeat(400)}),
            "prompt",
            "the prompt has 400 tokens, but the context holds 400",
        ),
    ];
    for (body, parameter, words) in cases {
        refused(&server, "/v1/completions", body.to_string().as_bytes(), 400, parameter, words);
    }
    refused(
        &server,
        "/v1/completions",
        br#"{"prompt": "a", "model": "gpt-4"}"#,
        404,
        "model",
        "org/alphabet",
    );
}

#[test]
fn bodies_that_are_no_json() {
    let server = start(Setup::default());
    let deep = "[".repeat(100_000);
    for (body, words) in [
        (&b""[..], "not JSON"),
        (b"{", "not JSON"),
        (b"{\"prompt\": \"a\"} x", "not JSON"),
        (b"{\"prompt\": NaN}", "not JSON"),
        (b"{\"prompt\": \"\xff\"}", "not UTF-8 from byte 12"),
        (b"{\"prompt\": \"a\", \"n\": 1e999}", "not JSON"),
        (b"{\"prompt\": \"\\ud800\"}", "not JSON"),
        (deep.as_bytes(), "not JSON"),
    ] {
        refused(&server, "/v1/completions", body, 400, "", words);
    }
    refused(
        &server,
        "/v1/completions",
        br#"{"prompt": "a", "n": 1, "n": 2}"#,
        400,
        "",
        "\"n\" is there twice",
    );
    refused(
        &server,
        "/v1/completions",
        br#"{"prompt": "a", "logit_bias": {"1": 1, "1": 2}}"#,
        400,
        "logit_bias",
        "twice",
    );
}

#[test]
fn other_endpoints() {
    let server = start(Setup::default());
    for (path, body, parameter, words) in [
        ("/v1/embeddings", json!({}), "input", "missing"),
        ("/v1/embeddings", json!({"input": []}), "input", "0 elements"),
        ("/v1/embeddings", json!({"input": ["a", ""]}), "input[1]", "empty"),
        ("/v1/embeddings", json!({"input": "a", "dimensions": 2}), "dimensions", "have 3"),
        (
            "/v1/embeddings",
            json!({"input": "a", "encoding_format": "hex"}),
            "encoding_format",
            "`float` or `base64`",
        ),
        ("/v1/embeddings", json!({"input": "a", "pooling": "max"}), "pooling", "`mean` or `last`"),
        (
            "/v1/embeddings",
            json!({"input": "a".repeat(401)}),
            "input[0]",
            "401 tokens, but the context holds 400",
        ),
        ("/v1/embeddings", json!({"input": "a", "other": 1}), "other", "unknown"),
        ("/tokenize", json!({}), "content", "missing"),
        ("/tokenize", json!({"content": 1}), "content", "integer `1`, expected a string"),
        ("/tokenize", json!({"content": "a", "with_pieces": 1}), "with_pieces", "a boolean"),
        ("/detokenize", json!({"tokens": "a"}), "tokens", "expected an array"),
        ("/detokenize", json!({"tokens": [1, 258]}), "tokens[1]", "258 tokens"),
        ("/detokenize", json!({"tokens": [1.5]}), "tokens[0]", "1.5"),
    ] {
        refused(&server, path, body.to_string().as_bytes(), 400, parameter, words);
    }
}
