//! What a server answers, against the reference and against itself.

use crate::server::{SIZES, Server};
use serde_json::{Value, json};
use std::path::Path;

/// The prompts of SmolLM2's fixture with the reference's greedy tokens.
pub fn expected() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/smollm2/expected.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["prompts"].as_array().unwrap().clone()
}

/// Greedy, and on after the end of a turn, as the reference was made.
fn greedy(prompt: &Value, tokens: usize) -> Value {
    json!({"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true,
           "skip_special_tokens": false})
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn answers_equal_the_reference() {
    let server = Server::listening(&SIZES);
    // Until the model is loaded, everything is refused as something that passes.
    let mut health = server.client.get("/health");
    println!("status {} at first", health.status);
    if health.status == 503 {
        assert_eq!(health.json()["status"], "loading");
        server.wait_for("stablemate: ready");
        health = server.client.get("/health");
    }
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    let summary = server.wait_for("blocks for 4 sequences of up to 1024 tokens");
    assert!(summary.contains("weights") && summary.contains("cache f16"), "{summary}");

    let question = "What is the capital of France? Answer in one word.";
    let chat = json!({"messages": [{"role": "user", "content": question}], "temperature": 0});
    let answer = server.client.post("/v1/chat/completions", &chat).json();
    let choice = &answer["choices"][0];
    assert!(choice["message"]["content"].as_str().unwrap().contains("Paris"), "{answer}");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(answer["model"], "SmolLM2-135M-Instruct.Q4_1");

    for case in expected() {
        let count = case["token_ids"].as_array().unwrap().len();
        let ids = greedy(&case["prompt_ids"], count);
        let answer = server.complete(&with(ids.clone(), json!({"logprobs": 0})));
        let (choice, usage) = (&answer["choices"][0], &answer["usage"]);
        assert_eq!(choice["text"], case["text"], "{}", case["name"]);
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(usage["completion_tokens"], count);
        assert_eq!(usage["prompt_tokens"], case["prompt_ids"].as_array().unwrap().len());
        if case["name"] == "capital" {
            let text = server.complete(&greedy(&case["prompt"], count));
            assert_eq!(text["choices"][0]["text"], case["text"], "{}", case["name"]);
        }
        let streamed = with(ids, json!({"stream": true}));
        assert_eq!(server.client.stream("/v1/completions", &streamed).text(), case["text"]);
        scores_equal_those_of_generation(&server, &case, &choice["logprobs"]["token_logprobs"]);
    }
    assert!(server.notes().contains("/v1/completions"), "a line for each request");
}

/// Scoring a text at once, as evaluations do, says what generating it step by step said.
fn scores_equal_those_of_generation(server: &Server, case: &Value, generated: &Value) {
    let prompt = case["prompt_ids"].as_array().unwrap();
    let all: Vec<&Value> = prompt.iter().chain(case["token_ids"].as_array().unwrap()).collect();
    let body = with(greedy(&json!(all), 1), json!({"logprobs": 1, "echo": true}));
    let scored = server.complete(&body);
    let logprobs = &scored["choices"][0]["logprobs"];
    let scores = logprobs["token_logprobs"].as_array().unwrap();
    assert_eq!(scores.len(), all.len() + 1);
    assert_eq!(scores[0], Value::Null);
    assert_eq!(json!(scores[prompt.len()..all.len()]), *generated, "{}", case["name"]);
    // What was chosen greedily is the most probable: both columns have the same number, which
    // evaluations compare.
    let top = logprobs["top_logprobs"].as_array().unwrap();
    for (score, top) in scores.iter().zip(top).skip(prompt.len()) {
        let top = top.as_object().unwrap();
        assert_eq!((top.len(), top.values().next()), (1, Some(score)), "{top:?}");
    }
}

#[test]
fn a_prompt_that_begins_like_another_finds_its_keys_and_values() {
    let server = Server::start(&SIZES);
    let story = "Once upon a time a fox met a crow who had found a piece of cheese. ";
    let prefix = story.repeat(20);
    let ask = |question: &str| {
        let body = json!({"prompt": format!("{prefix}{question}"), "max_tokens": 12,
                          "temperature": 0, "ignore_eos": true});
        let answer = server.complete(&body);
        let usage = &answer["usage"];
        let prompt = usage["prompt_tokens"].as_u64().unwrap();
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        (answer["choices"][0]["text"].clone(), prompt, cached)
    };
    let (first, prompt, cached) = ask("The fox said:");
    assert!(prompt > 300 && cached == 0, "{prompt} {cached}");
    let (again, _, cached) = ask("The fox said:");
    assert_eq!(again, first);
    assert!(cached + 16 >= prompt - 1, "{cached} of {prompt}");
    let (other, prompt, cached) = ask("What did the crow answer to that?");
    assert!(cached + 32 >= prompt && cached < prompt, "{cached} of {prompt}");
    assert_eq!(server.client.metric("prefix_cache_hits_total") as u64 % 16, 0);

    // Whoever finds nothing says the same.
    let fresh = Server::start(&[&SIZES[..], &["--no-prefix-cache"]].concat());
    let body = json!({"prompt": format!("{prefix}What did the crow answer to that?"),
                      "max_tokens": 12, "temperature": 0, "ignore_eos": true});
    let answer = fresh.complete(&body);
    assert_eq!(answer["choices"][0]["text"], other);
    assert_eq!(fresh.complete(&body)["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}
