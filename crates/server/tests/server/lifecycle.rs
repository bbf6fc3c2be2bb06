//! Clients that go away, too many of them, and the end of the server.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::common::{Answer, JSON, Server, Setup, start, wait_until, written};
use serde_json::{Value, json};
use stablemate_server::Options;

fn slow() -> Setup {
    Setup { step_delay: Duration::from_millis(10), ..Setup::default() }
}

/// Goes on for ever.
fn endless(stream: bool) -> Value {
    json!({"prompt": ".", "temperature": 0, "max_tokens": 390, "stream": stream})
}

fn idle(server: &Server) -> bool {
    let now = server.engine.statistics();
    now.running == 0 && now.waiting == 0 && now.blocks_owned == 0
}

#[test]
fn who_goes_away_is_cancelled() {
    let server = start(slow());
    let stream = server.stream(&endless(true));
    assert!(!idle(&server));
    drop(stream);
    wait_until("the stream's blocks are free", || idle(&server));

    let mut connection = server.connect();
    let body = endless(false).to_string();
    connection.write_all(&written("POST", "/v1/completions", JSON, body.as_bytes())).unwrap();
    wait_until("it runs", || server.engine.statistics().running == 1);
    drop(connection);
    wait_until("its blocks are free", || idle(&server));
    assert_eq!(server.engine.statistics().cancelled, 2);
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("stablemate_request_success_total{finished_reason=\"abort\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("status=\"499\"} 1"), "{metrics}");
}

#[test]
fn a_full_queue_sheds_load() {
    let server = start(Setup { parallel: 1, queue: 1, ..slow() });
    let _running = server.stream(&endless(true));
    let mut waiting = server.connect();
    let body = endless(false).to_string();
    waiting.write_all(&written("POST", "/v1/completions", JSON, body.as_bytes())).unwrap();
    wait_until("one waits", || server.engine.statistics().waiting == 1);
    let answer = server.post("/v1/completions", &json!({"prompt": "a"}));
    assert_eq!((answer.status, answer.error()["type"].clone()), (429, json!("rate_limit_error")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert!(server.get("/metrics").body.contains("stablemate_admission_rejections_total 1"));
}

#[test]
fn long_silences_are_filled_with_comments() {
    let options = Options { keep_alive: Duration::from_millis(30), ..Setup::default().options };
    let setup = Setup { options, step_delay: Duration::from_millis(150), ..Setup::default() };
    let server = start(setup);
    let body = json!({"prompt": "x", "temperature": 0, "stream": true});
    let answer = server.post("/v1/completions", &body);
    assert!(answer.body.starts_with(':'), "{}", answer.body);
    assert_eq!(answer.events().last().unwrap(), "[DONE]");
}

#[test]
fn the_end_waits_for_what_is_under_way() {
    let mut server = start(slow());
    let mut connection = server.connect();
    let body = json!({"prompt": ".", "temperature": 0, "max_tokens": 40}).to_string();
    connection.write_all(&written("POST", "/v1/completions", JSON, body.as_bytes())).unwrap();
    wait_until("it runs", || server.engine.statistics().running == 1);
    server.stopper.stop();
    let answer = Answer::read(&mut connection);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["choices"][0]["text"], ".".repeat(40));
    server.join().unwrap();
    assert!(std::net::TcpStream::connect(server.address).is_err());
    assert!(!server.engine.is_alive());
}

#[test]
fn the_end_waits_no_longer_than_its_deadline() {
    let drain_deadline = Duration::from_millis(200);
    let options = Options { drain_deadline, ..Setup::default().options };
    let mut server = start(Setup { options, ..slow() });
    let mut stream = server.stream(&endless(true));
    let started = Instant::now();
    server.stopper.stop();
    let rest = Answer::read(&mut stream);
    assert!(format!("{rest:?}").contains("shutting down"), "{rest:?}");
    server.join().unwrap();
    assert!((200..1500).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[test]
fn the_second_signal_ends_at_once() {
    let mut server = start(slow());
    // Nobody reads from it.
    let _stream = server.stream(&endless(true));
    server.stopper.stop();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!server.has_ended());
    let started = Instant::now();
    server.stopper.stop();
    server.join().unwrap();
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}

/// A client may close its half once it has asked, and gets its answer; one that has left is forgotten all the same.
#[test]
fn half_closed_connections_are_answered() {
    let server = start(slow());
    let body = json!({"prompt": "a", "temperature": 0, "max_tokens": 20}).to_string();
    let mut stream = server.connect();
    stream.write_all(&written("POST", "/v1/completions", JSON, body.as_bytes())).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let last = text.rsplit("HTTP/1.1 ").next().unwrap();
    assert!(last.starts_with("200 OK") && last.contains("bcdefgh"), "{text}");
    let mut stream = server.connect();
    let body = endless(false).to_string();
    stream.write_all(&written("POST", "/v1/completions", JSON, body.as_bytes())).unwrap();
    wait_until("it runs", || server.engine.statistics().running == 1);
    drop(stream);
    wait_until("it is forgotten", || idle(&server));
}
