//! What all endpoints have in common.

use std::sync::mpsc;
use std::time::Duration;

use crate::common::{JSON, Setup, served, start, start_with, wait_until};
use serde_json::json;
use stablemate_server::Options;

#[test]
fn unknown_paths_and_methods_are_enveloped() {
    let server = start(Setup::default());
    let answer = server.get("/v1/nothing");
    assert_eq!((answer.status, answer.error()["code"].clone()), (404, json!("unknown_url")));
    let answer = server.get("/v1/completions");
    assert_eq!((answer.status, answer.error()["code"].clone()), (405, json!("method_not_allowed")));
}

#[test]
fn only_json_is_read() {
    let server = start(Setup::default());
    for kind in
        ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"]
    {
        let answer = server.request("POST", "/v1/completions", kind, b"{\"prompt\": \"a\"}");
        assert_eq!(answer.status, 415, "{kind}");
        assert!(answer.error()["message"].as_str().unwrap().contains("application/json"));
    }
    let kind = "Content-Type: Application/JSON; charset=utf-8\r\n";
    assert_eq!(server.request("POST", "/v1/completions", kind, b"{\"prompt\": \"a\"}").status, 200);
}

#[test]
fn bodies_have_a_limit() {
    let options = Options { body_limit: 1000, ..Setup::default().options };
    let server = start(Setup { options, ..Setup::default() });
    let body = json!({"prompt": "a".repeat(2000)}).to_string();
    let answer = server.request("POST", "/v1/completions", JSON, body.as_bytes());
    assert_eq!(answer.status, 413);
    assert!(answer.error()["message"].as_str().unwrap().contains("1000"));
    // Without a length, it is found out on the way.
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{JSON}\r\n"
    );
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(server.raw((head + &chunk).as_bytes()).status, 413);
}

#[test]
fn request_ids_are_kept_or_made() {
    let server = start(Setup::default());
    let id = |headers: &str| {
        let answer = server.request("GET", "/health", headers, b"");
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("x-request-id: mine-1\r\n"), "mine-1");
    assert_ne!(id(""), id(""));
    assert_eq!(id(&format!("x-request-id: {}\r\n", "x".repeat(129))).len(), 32);
    assert_eq!(id("x-request-id: two words\r\n").len(), 32);
}

#[test]
fn keys_open_all_but_what_is_open() {
    let options = Options { api_keys: vec!["secret".into()], ..Setup::default().options };
    let server = start(Setup { options, ..Setup::default() });
    for path in ["/v1/models", "/metrics", "/nowhere"] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, answer.error()["type"].clone()),
            (401, json!("authentication_error")),
            "{path}"
        );
    }
    for path in ["/", "/docs", "/openapi.json", "/health", "/v1/health"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let status = |headers: &str| server.request("GET", "/v1/models", headers, b"").status;
    assert_eq!(status("Authorization: Bearer secret\r\n"), 200);
    assert_eq!(status("x-api-key: secret\r\n"), 200);
    assert_eq!(status("Authorization: Bearer wrong\r\n"), 401);
}

#[test]
fn other_origins_need_permission() {
    let origin = "Origin: https://example.org\r\n";
    let server = start(Setup::default());
    assert_eq!(
        server.request("GET", "/v1/models", origin, b"").header("access-control-allow-origin"),
        None
    );
    let options = Options {
        cors_origins: vec!["https://example.org".into()],
        api_keys: vec!["secret".into()],
        ..Setup::default().options
    };
    let server = start(Setup { options, ..Setup::default() });
    let asked = format!(
        "{origin}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
    );
    let answer = server.request("OPTIONS", "/v1/completions", &asked, b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://example.org"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization"));
    let answer = server.request("GET", "/v1/models", "Origin: https://other.org\r\n", b"");
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn while_loading_it_says_so() {
    let served = served(&Setup::default());
    let engine = served.engine.clone();
    let (loaded, wait) = mpsc::channel::<()>();
    let load = move || {
        let _ = wait.recv();
        Ok(served)
    };
    let server = start_with(Setup::default().options, engine, load);
    let answer = server.get("/health");
    assert_eq!((answer.status, answer.json()), (503, json!({"status": "loading"})));
    let answer = server.post("/v1/completions", &json!({"prompt": "a"}));
    assert_eq!((answer.status, answer.error()["code"].clone()), (503, json!("loading")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!((server.get("/metrics").status, server.get("/").status), (200, 200));
    loaded.send(()).unwrap();
    wait_until("it is loaded", || server.get("/health").status == 200);
    assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
}

#[test]
fn what_cannot_be_loaded_ends_the_server() {
    let served = served(&Setup::default());
    let load = || Err("config.json: no such file".to_owned());
    let mut server = start_with(Setup::default().options, served.engine, load);
    assert_eq!(server.join().unwrap_err().to_string(), "config.json: no such file");
}

#[test]
fn half_open_bodies_and_slow_heads_are_given_up() {
    let options = Options {
        header_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        ..Setup::default().options
    };
    let server = start(Setup { options, ..Setup::default() });
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n{JSON}\r\n{{\"pro"
    );
    let answer = server.raw(head.as_bytes());
    assert_eq!((answer.status, answer.error()["type"].clone()), (408, json!("timeout_error")));
    // The connection is closed, whether anything came or not.
    for part in
        [&b""[..], b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"]
    {
        assert!([0, 408].contains(&server.raw(part).status));
    }
    assert_eq!(server.get("/health").status, 200);
}
