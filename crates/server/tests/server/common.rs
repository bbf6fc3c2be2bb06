//! A server before a model whose answers can be known by hand, and a client that may misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stablemate_engine::testing::{Fake, FakeSettings};
use stablemate_engine::{EngineHandle, Plan};
use stablemate_server::{Callbacks, Options, ServeError, Served, Stopper, serve};
use stablemate_text::Tokenizer;

/// Token ids that are no bytes.
pub const BEGIN: u32 = 256;
pub const END: u32 = 257;
pub const VOCABULARY: usize = 258;
pub const CONTEXT: usize = 400;

/// What a test changes.
pub struct Setup {
    pub options: Options,
    pub step_delay: Duration,
    pub parallel: usize,
    pub queue: usize,
    pub blocks: usize,
}

impl Default for Setup {
    fn default() -> Self {
        let options = Options { port: 0, signals: false, ..Options::default() };
        Self { options, step_delay: Duration::ZERO, parallel: 4, queue: 64, blocks: 100 }
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub engine: EngineHandle,
    pub stopper: Stopper,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// Every byte is a token, and there are two special ones.
pub fn tokenizer() -> Tokenizer {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100..;
    let letter = |byte: u8| match printable(byte) {
        true => char::from(byte),
        false => char::from_u32(others.next().unwrap()).unwrap(),
    };
    let letters: Vec<char> = (0..=u8::MAX).map(letter).collect();
    let entries = letters.iter().enumerate().map(|(id, letter)| (letter.to_string(), json!(id)));
    let vocabulary: serde_json::Map<String, Value> = entries.collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(BEGIN, "<s>"), special(END, "</s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": []},
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).unwrap();
    Tokenizer::from_file(&path).unwrap()
}

/// How texts go on: a letter by the next one, `z` by the end; `0` by 東 and `!`, which is also the end; a dot by a dot.
pub fn next(tokens: &[u32]) -> u32 {
    match tokens.last().and_then(|id| u8::try_from(*id).ok()) {
        Some(letter @ b'a'..=b'y') => u32::from(letter + 1),
        Some(b'0') => 0xE6,
        Some(0xE6) => 0x9D,
        Some(0x9D) => 0xB1,
        Some(0xB1) => u32::from(b'!'),
        Some(b'.') => u32::from(b'.'),
        _ => END,
    }
}

/// The model before which servers are started.
pub fn served(setup: &Setup) -> Served {
    let settings = FakeSettings {
        vocabulary: VOCABULARY,
        context: CONTEXT,
        step_delay: setup.step_delay,
        ..FakeSettings::default()
    };
    let Setup { parallel, queue, blocks, .. } = *setup;
    let plan = Plan { parallel, blocks, slots: 0, queue, prefix_cache: true, pace: 2.0 };
    Served {
        engine: EngineHandle::start(Fake::scripted(settings, next), &plan).unwrap(),
        tokenizer: Ok(tokenizer()),
        conversation: Err("it has no chat template".to_owned()),
        end_ids: vec![END],
        id: "org/alphabet".to_owned(),
        aliases: vec!["abc".to_owned()],
        created: 1_700_000_000,
        sampling: None,
        max_tokens: None,
        system_fingerprint: "test".to_owned(),
    }
}

pub fn start(setup: Setup) -> Server {
    let served = served(&setup);
    let engine = served.engine.clone();
    let server = start_with(setup.options, engine, move || Ok(served));
    let ready = || server.get("/health").status == 200;
    wait_until("the server is ready", ready);
    server
}

pub fn start_with(
    options: Options,
    engine: EngineHandle,
    load: impl FnOnce() -> Result<Served, String> + Send + 'static,
) -> Server {
    let (sender, receiver) = mpsc::channel();
    let listening: Box<dyn FnOnce(SocketAddr) + Send> =
        Box::new(move |at| sender.send(at).unwrap());
    let callbacks = Callbacks { listening: Some(listening), ..Callbacks::default() };
    let stopper = Stopper::default();
    let stop = stopper.clone();
    let thread = std::thread::spawn(move || serve(options, callbacks, stop, load));
    let address = receiver.recv_timeout(Duration::from_secs(5)).unwrap();
    Server { address, engine, stopper, thread: Some(thread) }
}

impl Server {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends bytes and reads the answer to its end.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        Answer::read(&mut stream)
    }

    pub fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.raw(&written(method, path, headers, body))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, JSON, body.to_string().as_bytes())
    }

    /// A completion that must succeed.
    pub fn complete(&self, body: Value) -> Value {
        let answer = self.post("/v1/completions", &body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        answer.json()
    }

    /// Begins a stream, and waits until its first piece is there.
    pub fn stream(&self, body: &Value) -> TcpStream {
        let mut stream = self.connect();
        stream
            .write_all(&written("POST", "/v1/completions", JSON, body.to_string().as_bytes()))
            .unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("data:") {
            let mut part = [0; 512];
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend(&part[..read]);
        }
        stream
    }

    /// Waits for the server to end by itself.
    pub fn join(&mut self) -> Result<(), ServeError> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper.stop();
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.engine.abort();
    }
}

pub const JSON: &str = "Content-Type: application/json\r\n";

/// A request with `Connection: close`.
pub fn written(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case, with their values.
    pub headers: String,
    pub body: String,
}

impl Answer {
    /// Reads to the end.
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // A server that refuses a body may reset the connection after its answer.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let headers = head.to_ascii_lowercase();
        let chunked = headers.contains("transfer-encoding: chunked");
        let body = if chunked { unchunked(body) } else { body.to_owned() };
        Answer { status: status.unwrap_or(0), headers, body }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    }

    /// The data of all events.
    pub fn events(&self) -> Vec<String> {
        self.body
            .split("\n\n")
            .filter_map(|e| e.strip_prefix("data: "))
            .map(str::to_owned)
            .collect()
    }

    /// The error of an envelope, whose form is checked.
    pub fn error(&self) -> Value {
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
        assert_eq!(error.as_object().unwrap().len(), 4, "{body}");
        error.clone()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        // Lengths are in bytes, and chunks end between events.
        text.push_str(&rest[..length]);
        body = &rest[(length + 2).min(rest.len())..];
    }
    text
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(5), "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
