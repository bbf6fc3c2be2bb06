//! A completion server of a hundred lines whose answers, pace and faults are known.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How the server behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// What a generated token takes.
    pub token: Duration,
    /// What a token of a prompt takes.
    pub prompt_token: Duration,
    /// Streams stand still while a prompt is processed.
    pub prompts_stop_streams: bool,
    /// Tokens of prompts that were seen before need no work.
    pub prefix_cache: bool,
    /// Requests whose clients left count as running for ever.
    pub leaks: bool,
    /// The text depends on how many others run.
    pub unstable: bool,
    /// Every so-manieth request is answered 500.
    pub fails_every: Option<usize>,
    /// Every stream ends after its first piece, without a word.
    pub cuts_streams: bool,
    /// Streams carry no usage and no metrics are offered.
    pub plain: bool,
}

struct State {
    behaviour: Behaviour,
    running: AtomicUsize,
    requests: AtomicUsize,
    seen: Mutex<HashSet<Vec<u64>>>,
    /// Held for writing by a prompt that stops the streams, for reading by a token.
    step: RwLock<()>,
    bodies: Mutex<Vec<Value>>,
    ended: AtomicBool,
}

pub struct FakeServer {
    pub url: String,
    address: std::net::SocketAddr,
    state: Arc<State>,
}

impl FakeServer {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            behaviour,
            running: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            seen: Mutex::default(),
            step: RwLock::default(),
            bodies: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                // A client that has left is no error.
                thread::spawn(move || drop(state.answer(connection)));
            }
        });
        Self { url: format!("http://{address}"), address, state }
    }

    /// The bodies of all completion requests so far.
    pub fn bodies(&self) -> Vec<Value> {
        self.state.bodies.lock().unwrap().clone()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

impl State {
    fn answer(&self, mut connection: TcpStream) -> Result<()> {
        connection.set_nodelay(true)?;
        let mut reader = BufReader::new(connection.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        match path.as_str() {
            "/v1/models" => whole(
                &mut connection,
                200,
                &json!({"object": "list", "data": [{"id": "fake"}]}).to_string(),
            ),
            "/metrics" if !self.behaviour.plain => whole(&mut connection, 200, &self.metrics()),
            "/v1/completions" => {
                let body: Value = serde_json::from_slice(&body).unwrap();
                self.bodies.lock().unwrap().push(body.clone());
                self.running.fetch_add(1, Ordering::SeqCst);
                let result = self.complete(&mut connection, &body);
                if result.is_ok() || !self.behaviour.leaks {
                    self.running.fetch_sub(1, Ordering::SeqCst);
                }
                result
            }
            _ => whole(&mut connection, 404, "{\"error\":{\"message\":\"no such place\"}}"),
        }
    }

    fn metrics(&self) -> String {
        let running = self.running.load(Ordering::SeqCst);
        format!(
            "stablemate_num_requests_running {running}\nstablemate_num_requests_waiting 0\n\
             stablemate_kv_cache_blocks_owned {running}\n\
             stablemate_kv_cache_blocks 1000\n"
        )
    }

    fn complete(&self, connection: &mut TcpStream, body: &Value) -> Result<()> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        if self.behaviour.fails_every.is_some_and(|every| number.is_multiple_of(every)) {
            return whole(connection, 500, "{\"error\":{\"message\":\"on purpose\"}}");
        }
        let prompt: Vec<u64> =
            body["prompt"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let cached = self.process(&prompt);
        let tokens = body["max_tokens"].as_u64().unwrap();
        let usage = json!({
            "prompt_tokens": prompt.len(),
            "completion_tokens": tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        });
        let piece = |token: u64| {
            let mut hasher = DefaultHasher::new();
            (&prompt, body["seed"].as_u64(), body["temperature"].to_string(), token)
                .hash(&mut hasher);
            if self.behaviour.unstable {
                self.running.load(Ordering::SeqCst).hash(&mut hasher);
            }
            format!(" {}", hasher.finish() % 1000)
        };
        if body["stream"] != true {
            let text: String = (0..tokens).map(|token| self.pace(|| piece(token))).collect();
            let choice = json!({"index": 0, "text": text, "finish_reason": "length"});
            return whole(
                connection,
                200,
                &json!({"choices": [choice], "usage": usage}).to_string(),
            );
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n")?;
        let mut send = |chunk: Value| connection.write_all(format!("data: {chunk}\n\n").as_bytes());
        for token in 0..tokens {
            let text = self.pace(|| piece(token));
            let reason = (token + 1 == tokens).then_some("length");
            send(json!({"choices": [{"index": 0, "text": text, "finish_reason": reason}]}))?;
            if self.behaviour.cuts_streams {
                return Ok(());
            }
        }
        if !self.behaviour.plain {
            send(json!({"choices": [], "usage": usage}))?;
        }
        connection.write_all(b"data: [DONE]\n\n")
    }

    /// The time of a prompt, and how many of its tokens needed none.
    fn process(&self, prompt: &[u64]) -> usize {
        let mut cached = 0;
        if self.behaviour.prefix_cache {
            let mut seen = self.seen.lock().unwrap();
            let blocks = (1..).map(|block| block * 16).take_while(|end| *end <= prompt.len());
            for end in blocks {
                if !seen.insert(prompt[..end].to_vec()) {
                    cached = end;
                }
            }
        }
        let guard = self.behaviour.prompts_stop_streams.then(|| self.step.write().unwrap());
        thread::sleep(self.behaviour.prompt_token * u32::try_from(prompt.len() - cached).unwrap());
        drop(guard);
        cached
    }

    fn pace(&self, piece: impl FnOnce() -> String) -> String {
        let _guard = self.step.read().unwrap();
        thread::sleep(self.behaviour.token);
        piece()
    }
}

fn whole(connection: &mut TcpStream, status: u16, text: &str) -> Result<()> {
    let length = text.len();
    connection.write_all(
        format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
        )
        .as_bytes(),
    )
}
