//! A hub on this machine: its listing, its file addresses and the store that large files are in.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::json;
use sha2::{Digest, Sha256};

/// The commit that `main` and `v1` have at first.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a server treats requests for part of a file.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Ranges {
    #[default]
    Honoured,
    /// All of the file is sent.
    Ignored,
    /// Status 416.
    Refused,
}

/// What the hub has and how it behaves.
#[derive(Default)]
pub struct Hub {
    /// `organisation/name`.
    pub model: String,
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
    /// The token without which the model is refused with status 401.
    pub token: Option<String>,
    /// Files whose transfers break off after so many bytes, that many times.
    pub breaks: BTreeMap<String, (usize, usize)>,
    /// What is made of the range asked for.
    pub ranges: Ranges,
    /// Files of which other bytes are sent than announced.
    pub damaged: Vec<String>,
    /// Instead of a normal answer: what to answer to addresses that contain a text.
    pub overrides: Vec<(String, String)>,
    /// `METHOD path [range]` of each request.
    pub log: Vec<String>,
    /// Whether the store was given the token.
    pub leaked: bool,
}

impl Hub {
    /// How many bodies of files were asked for.
    pub fn transfers(&self) -> usize {
        self.log
            .iter()
            .filter(|line| line.starts_with("GET") && !line.contains("/api/models/"))
            .count()
    }
}

/// A hub being served.
pub struct Server {
    pub endpoint: String,
    hub: Arc<Mutex<Hub>>,
}

impl Server {
    /// A server for `organisation/name` with these files.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let files =
            files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let hub = Hub {
            model: "organisation/name".to_owned(),
            commit: COMMIT.to_owned(),
            files,
            ..Hub::default()
        };
        let hub = Arc::new(Mutex::new(hub));
        let shared = Arc::clone(&hub);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, stream) = (Arc::clone(&shared), stream.unwrap());
                std::thread::spawn(move || {
                    // A client that went away is none of the server's business.
                    answer(&stream, &shared, port).ok();
                });
            }
        });
        Self { endpoint: format!("http://127.0.0.1:{port}"), hub }
    }

    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Large files are in the store and named by their SHA-256, small ones by a hash of Git.
pub fn etag(name: &str, bytes: &[u8]) -> String {
    let hash = sha256(bytes);
    if is_large(name) { hash } else { hash[..40].to_owned() }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

struct Request {
    method: String,
    path: String,
    range: Option<usize>,
    token: Option<String>,
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: None,
        token: None,
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let start = value.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
                request.range = start.and_then(|start| start.parse().ok());
            }
            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    Ok(request)
}

fn answer(mut stream: &TcpStream, hub: &Mutex<Hub>, port: u16) -> std::io::Result<()> {
    let request = read(stream)?;
    let (head, body) = {
        let mut hub = hub.lock().unwrap();
        let range = request.range.map(|start| format!(" {start}")).unwrap_or_default();
        hub.log.push(format!("{} {}{range}", request.method, request.path));
        hub.respond(&request, port)
    };
    stream.write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&body)?;
    }
    stream.flush()
}

fn refusal(status: &str, code: &str, message: &str) -> (String, Vec<u8>) {
    let headers =
        format!("x-error-code: {code}\r\nx-error-message: {message}\r\ncontent-length: 0");
    (format!("{status}\r\n{headers}"), Vec::new())
}

impl Hub {
    fn respond(&mut self, request: &Request, port: u16) -> (String, Vec<u8>) {
        let found = self.overrides.iter().find(|(text, _)| request.path.contains(text));
        if let Some((_, answer)) = found {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
            return (head.to_owned(), body.as_bytes().to_vec());
        }
        if let Some(name) = request.path.strip_prefix("/store/") {
            self.leaked |= request.token.is_some();
            return self.transfer(&name.replace("%20", " "), request.range);
        }
        if self.token.is_some() && request.token != self.token {
            return refusal("401 Unauthorized", "GatedRepo", "Access is restricted");
        }
        let model = &self.model;
        if let Some(revision) = request.path.strip_prefix(&format!("/api/models/{model}/revision/"))
        {
            return self.listing(revision.split('?').next().unwrap_or_default());
        }
        // Small files are redirected on the hub itself, large ones to another host.
        let resolve = format!("/{model}/resolve/{}/", self.commit);
        let here = format!("/api/resolve-cache/{model}/");
        if let Some(name) = request.path.strip_prefix(&resolve) {
            return self.redirect(&name.replace("%20", " "), &here, port);
        }
        match request.path.strip_prefix(&here) {
            Some(name) => self.transfer(&name.replace("%20", " "), request.range),
            None => refusal("404 Not Found", "RepoNotFound", "Repository not found"),
        }
    }

    fn listing(&self, revision: &str) -> (String, Vec<u8>) {
        if !["main", "v1", "refs%2Fpr%2F1", &self.commit].contains(&revision) {
            let message = format!("Invalid rev id: {revision}");
            return refusal("404 Not Found", "RevisionNotFound", &message);
        }
        let siblings: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| json!({"rfilename": name, "size": bytes.len(), "blobId": "x"}))
            .collect();
        let body = json!({"id": self.model, "sha": self.commit, "siblings": siblings}).to_string();
        (format!("200 OK\r\ncontent-length: {}", body.len()), body.into_bytes())
    }

    fn redirect(&self, name: &str, here: &str, port: u16) -> (String, Vec<u8>) {
        let Some(bytes) = self.files.get(name) else {
            return refusal("404 Not Found", "EntryNotFound", "Entry not found");
        };
        let (etag, size) = (etag(name, bytes), bytes.len());
        let location = name.replace(' ', "%20");
        let location = if is_large(name) {
            format!("http://localhost:{port}/store/{location}\r\nx-linked-size: {size}")
        } else {
            format!("{here}{location}")
        };
        let head = format!(
            "307 Temporary Redirect\r\nx-repo-commit: {}\r\nx-linked-etag: \"{etag}\"\r\n\
             location: {location}\r\ncontent-length: 0",
            self.commit
        );
        (head, Vec::new())
    }

    fn transfer(&mut self, name: &str, range: Option<usize>) -> (String, Vec<u8>) {
        let Some(bytes) = self.files.get(name) else {
            return refusal("404 Not Found", "EntryNotFound", "Entry not found");
        };
        let (etag, total) = (etag(name, bytes), bytes.len());
        let start = range.filter(|_| self.ranges != Ranges::Ignored);
        let mut body = bytes.get(start.unwrap_or(0)..).unwrap_or_default().to_vec();
        let status = match start {
            Some(start) if start >= total || self.ranges == Ranges::Refused => {
                return (
                    format!("416 Range Not Satisfiable\r\ncontent-range: bytes */{total}"),
                    Vec::new(),
                );
            }
            Some(start) => {
                let last = total - 1;
                format!("206 Partial Content\r\ncontent-range: bytes {start}-{last}/{total}")
            }
            None => "200 OK".to_owned(),
        };
        let head = format!(
            "{status}\r\netag: W/\"{etag}\"\r\nx-repo-commit: {}\r\naccept-ranges: bytes\r\n\
             content-length: {}",
            self.commit,
            body.len()
        );
        if self.damaged.iter().any(|damaged| damaged == name) {
            body.reverse();
        }
        if let Some((after, times)) = self.breaks.get_mut(name).filter(|(_, times)| *times > 0) {
            body.truncate(*after);
            *times -= 1;
        }
        (head, body)
    }
}
