//! What a server refuses to start with, and whom it refuses to serve.

use crate::server::{SIZES, Server, command, wait_until};
use crate::support::{checkpoint, fail, smollm2, stablemate};
use serde_json::{Value, json};
use std::net::TcpListener;

#[test]
fn options_that_cannot_be_honoured_are_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let message = fail(&mut stablemate(&["serve", &smollm2(), "--port", &port]));
    assert!(message.contains(&format!("cannot listen at 127.0.0.1:{port}")), "{message}");

    let files = ["--ssl-cert-file", "nowhere/chain.pem", "--ssl-key-file", "nowhere/key.pem"];
    let message = fail(&mut command(&files));
    assert!(message.contains("nowhere/chain.pem"), "{message}");
    let message = fail(&mut command(&files[..2]));
    assert!(message.contains("--ssl-key-file"), "{message}");
    for (option, value, parts) in [
        ("--api-key-file", "nowhere/keys", ["nowhere/keys", "cannot be read"]),
        ("--chat-template-file", "nowhere/template", ["nowhere/template", "cannot be read"]),
        ("--cors-origin", "example.org", ["example.org", "https://"]),
        ("--memory", "4T", ["--memory", "K, M or G"]),
        ("--parallel", "0", ["--parallel", "1 or more"]),
    ] {
        let message = fail(&mut command(&[option, value]));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let message = fail(&mut stablemate(&["serve", "nowhere/model.gguf", "--port", "0"]));
    assert!(message.contains("nowhere/model.gguf"), "{message}");
    // What is quantised cannot be quantised again.
    let message = fail(&mut command(&["--quantize", "4"]));
    assert!(message.contains("quantise"), "{message}");
}

#[test]
fn clients_must_show_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "# of the tests\n\nfrom-the-file\n").unwrap();
    let keys = ["--api-key", "one,two", "--api-key-file", file.to_str().unwrap()];
    let server = Server::start(&[&SIZES[..], &keys, &["--log-format", "json"]].concat());
    let models = |key: Option<&str>| {
        let mut client = server.client.clone();
        client.key = key.map(str::to_owned);
        client.get("/v1/models")
    };
    for key in ["one", "two", "from-the-file"] {
        let answer = models(Some(key));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["data"][0]["id"], "SmolLM2-135M-Instruct.Q4_1");
    }
    for key in [None, Some("three"), Some("# of the tests"), Some("")] {
        models(key).error(401);
    }
    assert_eq!(server.client.get("/health").status, 200);

    // The log has an object for each request, and no keys.
    // A line is written when its answer is on its way: the last ones may come a little later.
    wait_until("each request has its line", || server.notes().matches("/v1/models").count() >= 7);
    let notes = server.notes();
    assert!(!notes.contains("from-the-file") && !notes.contains("three"), "keys are in the log");
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines: Vec<Value> = notes.lines().map(parse).collect();
    let requests = lines.iter().filter(|line| line["path"] == "/v1/models");
    let statuses: Vec<_> = requests.map(|line| line["status"].clone()).collect();
    assert_eq!(json!(statuses), json!([200, 200, 200, 401, 401, 401, 401]));
}

#[test]
fn a_model_without_a_tokenizer_is_quantised_and_embeds() {
    let (_folder, path, case) = checkpoint("gemma3_text");
    let options = ["--port", "0", "--quantize", "8", "--group-size", "32", "--alias", "small"];
    let mut command = stablemate(&["serve", &path]);
    command.args(options).args(["--ctx-size", "64", "--parallel", "2"]);
    let server = Server::spawn(command);
    server.wait_for("there will be no text");
    server.wait_for("stablemate: ready");
    let ids = json!({"model": "small", "input": case.expected.prompt_ids});
    let answer = server.client.post("/v1/embeddings", &ids);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let vector = answer.json()["data"][0]["embedding"].clone();
    assert!(vector.as_array().unwrap().iter().any(|value| value.as_f64() != Some(0.0)));
    let text = json!({"model": "small", "input": "some text"});
    let message = server.client.post("/v1/embeddings", &text).error(400);
    assert!(message.contains("tokenizer") || message.contains("text"), "{message}");

    // Both numbers of what is too long.
    let long = json!({"model": "small", "input": vec![1; 65]});
    let message = server.client.post("/v1/embeddings", &long).error(400);
    assert!(message.contains("65") && message.contains("64"), "{message}");
}
