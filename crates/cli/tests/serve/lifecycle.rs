//! Beginning, ending and being left.

use crate::server::{SIZES, Server, wait_until};
use serde_json::json;
use std::io::Read;
use std::time::{Duration, Instant};

fn stream(tokens: usize) -> serde_json::Value {
    json!({"prompt": "The capital of France is", "max_tokens": tokens, "temperature": 0,
           "ignore_eos": true, "stream": true})
}

#[test]
fn the_first_signal_lets_streams_finish() {
    let mut server = Server::start(&SIZES);
    let whole = server.client.stream("/v1/completions", &stream(100)).text();
    let mut events = server.client.stream("/v1/completions", &stream(100));
    let begun: serde_json::Value = serde_json::from_str(&events.next().unwrap()).unwrap();
    let begun = begun["choices"][0]["text"].as_str().unwrap().to_string();
    server.signal("TERM");
    server.wait_for("stablemate: stopping");
    // Nobody new comes in.
    if let Ok(answer) = server.client.send("/v1/completions", &stream(1)) {
        assert_eq!(answer.status(), 503);
    }
    assert_eq!(begun + &events.text(), whole);
    assert!(server.wait().success());
}

#[test]
fn the_second_signal_ends_at_once() {
    let mut server = Server::start(&SIZES);
    let mut connection = server.client.unread(&stream(1000));
    let mut seen = vec![0; 4096];
    let read = connection.read(&mut seen).unwrap();
    assert!(String::from_utf8_lossy(&seen[..read]).starts_with("HTTP/1.1 200"));
    server.signal("INT");
    server.wait_for("stablemate: stopping");
    assert!(!server.has_ended());
    let begin = Instant::now();
    server.signal("TERM");
    server.wait();
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let mut rest = Vec::new();
    // It may as well be reset.
    let _ = connection.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"), "the stream was complete");
}

#[test]
fn a_server_that_was_killed_is_soon_back() {
    let ask = |server: &Server| server.complete(&json!({"prompt": "One two", "temperature": 0}));
    let mut first = Server::start(&SIZES);
    let answer = ask(&first);
    let stream = first.client.stream("/v1/completions", &stream(500));
    first.signal("KILL");
    assert!(!first.wait().success());
    drop(stream);
    let begin = Instant::now();
    let second = Server::start(&SIZES);
    assert_eq!(ask(&second)["choices"], answer["choices"]);
    let elapsed = begin.elapsed();
    assert!(elapsed < Duration::from_secs(15), "{elapsed:?}");
    println!("answered {elapsed:?} after its start");
}

#[test]
fn a_client_that_leaves_frees_what_it_had() {
    let server = Server::start(&SIZES);
    let metric = |name: &str| server.client.metric(name);
    let prompt: Vec<u32> = (1000..1980).collect();
    let body = json!({"prompt": prompt, "max_tokens": 40, "ignore_eos": true, "stream": true});
    let connection = server.client.unread(&body);
    wait_until("the prompt is being computed", || metric("num_requests_running") > 0.0);
    assert!(metric("kv_cache_blocks_owned") > 0.0);
    drop(connection);
    wait_until("it is gone", || metric("num_requests_running") == 0.0);
    assert_eq!(metric("kv_cache_blocks_owned"), 0.0);
    assert_eq!(metric("num_requests_waiting"), 0.0);
    assert_eq!(metric("cancelled_requests_total"), 1.0);
    // Its prompt was never complete.
    assert!(metric("prompt_tokens_total") < prompt.len() as f64);
    assert_eq!(metric("generation_tokens_total"), 0.0);
    server.complete(&json!({"prompt": "And", "max_tokens": 2}));
}
