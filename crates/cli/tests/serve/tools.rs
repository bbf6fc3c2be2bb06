//! Load tools, TLS and the portable backend.

use crate::client::Client;
use crate::server::{SIZES, Server};
use crate::support::{json, stablemate, succeed};
use serde_json::json;

#[test]
fn load_tools_measure_a_server_and_find_it_in_order() {
    let server = Server::start(&SIZES);
    let (url, process) = (server.client.url.as_str(), server.process().to_string());
    let soak = ["soak", "--server", url, "--requests", "60", "--concurrency", "8"];
    let lengths = ["--prompt-tokens", "1..80", "--output-tokens", "1..12", "--load-seed", "7"];
    let more = ["--samples", "10", "--process", &process, "--memory-growth", "256"];
    let report = json(stablemate(&soak).args(lengths).args(more).args(["-o", "json"]));
    assert_eq!(report["requests"], 60, "{report}");
    let (completed, left) = (report["completed"].as_u64(), report["left"].as_u64());
    assert_eq!(completed.unwrap() + left.unwrap(), 60, "{report}");
    assert!(left.unwrap() > 0 && report["compared"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["differences"], json!([]));

    let bench = ["bench", "--server", url, "--load-seed", "8"];
    let small = ["--prompt-tokens", "8..16", "--output-tokens", "4..6"];
    let sweep = ["--concurrency", "1,2", "--requests", "2"];
    let table = succeed(stablemate(&bench).args(small).args(sweep));
    for part in ["tokens/s", "p50", "p99"] {
        assert!(table.contains(part), "no {part} in:\n{table}");
    }
    // So long that no stream ends before the last one has begun, however fast the machine is.
    let steady =
        ["--pattern", "steady", "--streams", "2", "--output-tokens", "200", "-o", "markdown"];
    let table = succeed(stablemate(&bench).args(&small[..2]).args(steady));
    assert!(table.contains("| "), "{table}");
    let prefix = ["--pattern", "prefix", "--prefix", "200", "-o", "json"];
    let report = json(stablemate(&bench).args(prefix));
    assert!(report.is_object(), "{report}");
}

#[test]
fn a_client_that_trusts_the_certificate_is_answered() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name).display().to_string();
        std::fs::write(&path, text).unwrap();
        path
    };
    let chain = file("chain.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let tls = ["--ssl-cert-file", &chain, "--ssl-key-file", &key];
    let server = Server::start(&[&SIZES[..], &tls].concat());
    let (_, port) = server.client.url.rsplit_once(':').unwrap();
    assert!(server.client.url.starts_with("https://127.0.0.1:"), "{}", server.client.url);
    let client = Client::trusting(&format!("https://localhost:{port}"), &made.cert.pem());
    let body = json!({"prompt": "The capital of France is", "max_tokens": 1, "temperature": 0});
    let answer = client.post("/v1/completions", &body);
    assert_eq!(answer.json()["choices"][0]["text"], " Paris");
    let stranger = Client::new(&format!("https://localhost:{port}"));
    assert!(stranger.send("/v1/completions", &body).is_err(), "nobody vouches for it");
}

#[test]
#[ignore = "compiling the portable steps of 135 million weights takes a minute"]
fn the_portable_backend_serves() {
    let sizes = ["--backend", "portable", "--ctx-size", "256", "--parallel", "2"];
    let server = Server::start(&sizes);
    let body = json!({"prompt": "The capital of France is", "max_tokens": 3, "temperature": 0});
    assert_eq!(server.complete(&body)["choices"][0]["text"], " Paris.\n");
}
