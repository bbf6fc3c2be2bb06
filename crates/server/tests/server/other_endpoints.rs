//! Models, embeddings, tokens, health, metrics, documentation, the page.

use crate::common::{END, Setup, start};
use serde_json::{Value, json};

#[test]
fn models() {
    let server = start(Setup::default());
    for path in ["/v1/models", "/models"] {
        let list = server.get(path).json();
        assert_eq!(list["object"], "list");
        assert_eq!(list["data"][0]["id"], "org/alphabet");
        assert_eq!(list["data"][1]["id"], "abc");
        assert_eq!(list["data"][0]["max_model_len"], 400);
    }
    let model = server.get("/v1/models/org/alphabet").json();
    assert_eq!((&model["object"], &model["created"]), (&json!("model"), &json!(1_700_000_000)));
    assert_eq!(server.get("/v1/models/abc").json()["root"], "org/alphabet");
    assert_eq!(server.get("/v1/models/org%2Falphabet").status, 200);
    let answer = server.get("/v1/models/other");
    assert_eq!((answer.status, answer.error()["code"].clone()), (404, json!("model_not_found")));
    assert_eq!(server.get("/v1/models/%ff").error()["type"], "invalid_request_error");
}

/// What the fake runner's vectors are, scaled to length 1.
fn scaled(vector: [f64; 3]) -> Vec<f64> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

fn near(found: &Value, expected: &[f64]) {
    let found: Vec<f64> = serde_json::from_value(found.clone()).unwrap();
    let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near && found.len() == expected.len(), "{found:?} is not {expected:?}");
}

#[test]
fn embeddings() {
    let server = start(Setup::default());
    let ask = |body: Value| {
        let answer = server.post("/v1/embeddings", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    // Of the token 1: 1·1+1, 1·2+1, 1·3+1; of 1 and 2: 3·1+2, 3·2+2, 3·3+2.
    let answer = ask(json!({"input": [[1], [1, 2]], "pooling": "last", "dimensions": 3}));
    near(&answer["data"][0]["embedding"], &scaled([2.0, 3.0, 4.0]));
    near(&answer["data"][1]["embedding"], &scaled([5.0, 8.0, 11.0]));
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let answer = ask(json!({"input": [1, 2]}));
    near(&answer["data"][0]["embedding"], &scaled([3.5, 5.5, 7.5]));
    let answer = ask(json!({"input": [1], "encoding_format": "base64", "pooling": "last"}));
    assert_eq!(answer["data"][0]["embedding"].as_str().unwrap().len(), 16);
    // More than the queue holds at a time.
    let many: Vec<String> = (0..200).map(|n| format!("text {n}")).collect();
    assert_eq!(ask(json!({"input": many}))["data"].as_array().unwrap().len(), 200);
}

#[test]
fn tokens() {
    let server = start(Setup::default());
    let ask = |path: &str, body: Value| server.post(path, &body).json();
    assert_eq!(ask("/tokenize", json!({"content": "ab</s>"})), json!({"tokens": [97, 98, END]}));
    let plain = ask("/tokenize", json!({"content": "</s>", "parse_special": false}));
    assert_eq!(plain, json!({"tokens": "</s>".bytes().collect::<Vec<u8>>()}));
    let pieces = ask("/tokenize", json!({"content": "é", "with_pieces": true}));
    assert_eq!(pieces["tokens"][0], json!({"id": 0xC3, "piece": [0xC3]}));
    assert_eq!(ask("/detokenize", json!({"tokens": [97, END]})), json!({"content": "a</s>"}));
}

#[test]
fn metrics_tell_what_happened() {
    let server = start(Setup::default());
    server.complete(json!({"prompt": "xy", "temperature": 0}));
    server.get("/nowhere");
    let answer = server.get("/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "stablemate_num_requests_running 0",
        "stablemate_kv_cache_usage_perc 0",
        "stablemate_state_slots 0",
        "stablemate_state_slots_owned 0",
        "stablemate_state_snapshots 0",
        "stablemate_state_snapshot_hits_total 0",
        "stablemate_generation_tokens_total 2",
        "stablemate_prompt_tokens_total 2",
        "stablemate_time_to_first_token_seconds_count 1",
        "stablemate_inter_token_latency_seconds_count 1",
        "stablemate_e2e_request_latency_seconds_count 1",
        "stablemate_request_queue_time_seconds_count 1",
        "stablemate_request_success_total{finished_reason=\"stop\"} 1",
        "stablemate_http_requests_total{method=\"POST\",path=\"/v1/completions\",status=\"200\"} 1",
        "stablemate_http_requests_total{method=\"GET\",path=\"other\",status=\"404\"} 1",
        "stablemate_time_to_first_token_seconds_bucket{le=\"2560.0\"} 1",
    ] {
        assert!(
            answer.body.lines().any(|found| found.starts_with(line)),
            "{line} is not in\n{}",
            answer.body
        );
    }
}

#[test]
fn the_documentation_knows_every_endpoint() {
    let server = start(Setup::default());
    let document = server.get("/openapi.json").json();
    for (path, method) in [
        ("/v1/completions", "post"),
        ("/v1/embeddings", "post"),
        ("/v1/models", "get"),
        ("/v1/models/{model}", "get"),
        ("/apply-template", "post"),
        ("/tokenize", "post"),
        ("/detokenize", "post"),
        ("/health", "get"),
        ("/metrics", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{path}");
    }
    let request = &document["components"]["schemas"]["CompletionRequest"];
    assert!(request["properties"]["temperature"]["description"].is_string(), "{request}");
    assert_eq!(request["additionalProperties"], false);
    let schemas = &document["components"]["schemas"];
    for (request, required) in [
        ("ChatRequest", json!(["messages"])),
        ("CompletionRequest", json!(["prompt"])),
        ("ResponsesRequest", json!(["input"])),
        ("TemplateRequest", json!(["messages"])),
    ] {
        assert_eq!(schemas[request]["required"], required, "{request}");
    }
    let chat = &schemas["ChatRequest"]["properties"];
    assert_eq!(chat["messages"]["minItems"], 1);
    assert_eq!(chat["top_p"]["exclusiveMinimum"], 0);
    assert!(chat["tool_choice"].to_string().contains("ChoiceSchema"), "{}", chat["tool_choice"]);
    let modes = &schemas["ChoiceMode"]["enum"];
    assert_eq!(*modes, json!(["auto", "none", "required"]));
    let page = server.get("/docs");
    assert!(page.body.contains("/v1/completions") && !page.body.contains("https://cdn"));
    assert_eq!(server.get("/").header("content-type"), Some("text/html; charset=utf-8"));
}
