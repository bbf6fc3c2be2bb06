//! A plain client: one connection per request.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, BodyReader, Error};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The message of an error that has this status.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        self.json()["error"]["message"].as_str().unwrap().to_string()
    }
}

#[derive(Clone, Debug)]
pub struct Client {
    pub url: String,
    pub key: Option<String>,
    agent: Agent,
}

impl Client {
    pub fn new(url: &str) -> Self {
        Self::with(url, TlsConfig::default())
    }

    /// A client that trusts one certificate.
    pub fn trusting(url: &str, certificate: &str) -> Self {
        let certificate = Certificate::from_pem(certificate.as_bytes()).unwrap();
        let roots = RootCerts::new_with_certs(&[certificate]);
        Self::with(url, TlsConfig::builder().root_certs(roots).build())
    }

    fn with(url: &str, tls: TlsConfig) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .timeout_global(Some(Duration::from_secs(120)))
            .tls_config(tls)
            .build();
        Self { url: url.to_string(), key: None, agent: agent.into() }
    }

    pub fn get(&self, path: &str) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        answer(request.call().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.send(path, body).unwrap())
    }

    /// Sends a request; what is wrong with the connection is the caller's to judge.
    pub fn send(&self, path: &str, body: &Value) -> Result<ureq::http::Response<Body>, Error> {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        request.content_type("application/json").send(body.to_string())
    }

    /// Begins to read a stream.
    pub fn stream(&self, path: &str, body: &Value) -> Events {
        let response = self.send(path, body).unwrap();
        assert_eq!(response.status(), 200, "{body}");
        Events { lines: BufReader::new(response.into_body().into_reader()) }
    }

    /// Sends a completion request over a connection that nobody reads from yet.
    pub fn unread(&self, body: &Value) -> TcpStream {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        let (body, kind) = (body.to_string(), "Content-Type: application/json");
        let length = body.len();
        let head = format!("POST /v1/completions HTTP/1.1\r\nHost: {address}\r\n{kind}\r\n");
        let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        connection.write_all(request.as_bytes()).unwrap();
        connection
    }

    /// A number of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let name = format!("stablemate_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("no {name}in:\n{text}")).parse().unwrap()
    }
}

fn answer(mut response: ureq::http::Response<Body>) -> Answer {
    let status = response.status().as_u16();
    Answer { status, body: response.body_mut().read_to_string().unwrap() }
}

/// The data of server-sent events; dropping it closes the connection.
pub struct Events {
    lines: BufReader<BodyReader<'static>>,
}

impl Iterator for Events {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.trim_end().to_string());
            }
        }
    }
}

impl Events {
    /// The text of the rest of a completion that ends as it must.
    pub fn text(self) -> String {
        let mut text = String::new();
        let mut ended = false;
        for data in self {
            assert!(!ended, "{data} after the end");
            if data == "[DONE]" {
                ended = true;
                continue;
            }
            let chunk: Value = serde_json::from_str(&data).unwrap();
            assert!(chunk.get("error").is_none(), "{chunk}");
            text += chunk["choices"][0]["text"].as_str().unwrap_or_default();
        }
        assert!(ended, "the stream broke off after {text:?}");
        text
    }
}
