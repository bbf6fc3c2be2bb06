//! A side of the comparison: a child process that loads one model and then measures what it is asked to.
//!
//! The protocol, one JSON object a line, requests on the child's stdin and answers on its stdout:
//!
//! ```text
//! ← {"ready": true, "load_seconds": s, "weights_bytes": n, "resident_bytes": n}      once, when it is loaded
//! → {"kind": "prefill", "tokens": n}
//! → {"kind": "decode", "tokens": n, "sequences": n, "depth": n}
//! ← {"seconds": s, "tokens": n, "tokens_per_second": r}                              n is of all sequences
//! → {"kind": "bandwidth"}            ← {"bytes_per_second": r}
//! → {"kind": "memory"}               ← {"peak_resident_bytes": n}
//! ← {"error": "…"}                                                                   to any of them
//! ```
//!
//! Ours is `stablemate bench MODEL --session`, llama.cpp's is `bench/llama_session.py`. Between requests it is idle.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bench::measurement::Measurement;
use crate::process;

/// A child that is ready to measure.
pub struct Session {
    name: String,
    child: Child,
    /// Closed to end the session.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    ready: Value,
}

impl Session {
    /// Starts a child and waits until its model is loaded.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let description = process::describe(command);
        eprintln!("{description}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {description}"))?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().context("a child without an output")?;
        let (name, answers) = (name.to_owned(), BufReader::new(answers));
        let mut session = Self { name, child, requests, answers, ready: Value::Null };
        session.ready = session.receive()?;
        if session.ready["ready"] != true {
            bail!("{} began with {}, not with being ready", session.name, session.ready);
        }
        Ok(session)
    }

    /// What it is called in the report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it said when it was loaded.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The process's number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Tokens per second; the inner error is what the child has against this measurement.
    pub fn measure(&mut self, measurement: Measurement) -> Result<Result<f64, String>> {
        self.ask(&measurement.request(), "tokens_per_second")
    }

    /// Bytes per second that it reads from memory when it does nothing else.
    pub fn bandwidth(&mut self) -> Result<Result<f64, String>> {
        self.ask(&json!({"kind": "bandwidth"}), "bytes_per_second")
    }

    /// The most memory it has had, in bytes.
    pub fn peak_memory(&mut self) -> Result<Result<f64, String>> {
        self.ask(&json!({"kind": "memory"}), "peak_resident_bytes")
    }

    fn ask(&mut self, request: &Value, key: &str) -> Result<Result<f64, String>> {
        let requests = self.requests.as_mut().context("the session has ended")?;
        writeln!(requests, "{request}")
            .and_then(|()| requests.flush())
            .with_context(|| format!("{} does not take {request}", self.name))?;
        let answer = self.receive()?;
        if let Some(error) = answer["error"].as_str() {
            return Ok(Err(error.to_owned()));
        }
        match answer[key].as_f64() {
            Some(value) if value > 0.0 => Ok(Ok(value)),
            _ => bail!("{} answered {request} with {answer}, which has no {key}", self.name),
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).with_context(|| self.name.clone())?;
        if length == 0 {
            let status = self.child.wait()?;
            bail!("{} ended ({status}) before it answered", self.name);
        }
        serde_json::from_str(&line)
            .with_context(|| format!("{} answered {:?}, which is no JSON", self.name, line.trim()))
    }
}

impl Drop for Session {
    /// A child ends when its requests do; one that does not is killed.
    fn drop(&mut self) {
        self.requests = None;
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        // It may have ended just now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFILL: Measurement = Measurement::Prefill { tokens: 8 };

    fn start(script: &str) -> Result<Session> {
        Session::start("child", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_child_answers_line_by_line() {
        let script = r#"echo '{"ready": true}'; read line; echo '{"tokens_per_second": 12.5}';
            read line; echo '{"error": "no"}'; read line; echo '{"seconds": 1}'; read line"#;
        let mut session = start(script).unwrap();
        assert_eq!(session.measure(PREFILL).unwrap(), Ok(12.5));
        assert_eq!(session.measure(PREFILL).unwrap(), Err("no".to_owned()));
        let error = session.measure(PREFILL).unwrap_err().to_string();
        assert!(error.contains("no tokens_per_second") && error.contains("prefill"), "{error}");
    }

    #[test]
    fn a_child_that_is_not_ready_is_an_error() {
        for (script, message) in [
            ("exit 3", "ended (exit status: 3)"),
            ("echo loading", "\"loading\", which is no JSON"),
            ("echo '{}'", "not with being ready"),
        ] {
            let error = format!("{:#}", start(script).err().unwrap());
            assert!(error.contains(message), "{error}");
        }
    }
}
