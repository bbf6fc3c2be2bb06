//! A server of the tests' own, which ends with them.

use crate::client::{Answer, Client};
use crate::support::{smollm2, stablemate};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Without compiled steps in the cache, a slow machine needs some time for them.
const PATIENCE: Duration = Duration::from_secs(180);

/// Sizes that several tests share, since each needs steps of its own to be compiled.
pub const SIZES: [&str; 4] = ["--ctx-size", "1024", "--parallel", "4"];

/// A running `stablemate serve`.
pub struct Server {
    child: Child,
    notes: Arc<Notes>,
    reader: Option<JoinHandle<()>>,
    pub client: Client,
}

/// What a server has written to standard error so far.
#[derive(Default)]
struct Notes {
    /// Its lines, and whether there will be no more.
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Notes {
    fn push(&self, line: String) {
        self.lines.lock().unwrap().0.push(line);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.lines.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().0.join("\n")
    }

    /// The first line that contains a text, as soon as it is there.
    fn wait_for(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!lines.1 && !left.is_zero(), "no {part:?} in:\n{}", lines.0.join("\n"));
            lines = self.changed.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// The command that serves SmolLM2 at any free port.
pub fn command(options: &[&str]) -> Command {
    let mut command = stablemate(&["serve", &smollm2(), "--port", "0"]);
    command.args(options);
    command
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn listening(options: &[&str]) -> Self {
        Self::spawn(command(options))
    }

    /// As [`Self::listening`], with a command of the test's own.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let notes = Arc::new(Notes::default());
        let (source, sink) = (child.stderr.take().unwrap(), notes.clone());
        let reader = std::thread::spawn(move || {
            BufReader::new(source).lines().map_while(Result::ok).for_each(|line| sink.push(line));
            sink.end();
        });
        let unknown = Client::new("");
        // From here on, a failure ends the child.
        let mut server = Self { child, notes, reader: Some(reader), client: unknown };
        let line = server.wait_for("listening at ");
        let (_, url) = line.split_once("listening at ").unwrap();
        // Where the log is JSON, the string ends there.
        let url = url.split('"').next().unwrap();
        server.client = Client::new(url);
        server
    }

    /// Starts a server and waits until it answers.
    pub fn start(options: &[&str]) -> Self {
        let server = Self::listening(options);
        let json = options.contains(&"json");
        server.wait_for(if json { "\"message\":\"ready\"" } else { "stablemate: ready" });
        server
    }

    /// The first line on standard error that contains a text, as soon as it is there.
    pub fn wait_for(&self, part: &str) -> String {
        self.notes.wait_for(part)
    }

    /// All that standard error has shown.
    pub fn notes(&self) -> String {
        self.notes.text()
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let process = self.process().to_string();
        let status = Command::new("kill").args(["-s", name, &process]).status().unwrap();
        assert!(status.success(), "{name} could not be sent");
    }

    /// How the server ends, which it must within some seconds.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.notes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// A completion that must succeed.
    pub fn complete(&self, body: &serde_json::Value) -> serde_json::Value {
        let Answer { status, body: answer } = self.client.post("/v1/completions", body);
        assert_eq!(status, 200, "{body}: {answer}\n{}", self.notes());
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("the server wrote:\n{}", self.notes());
        }
    }
}

/// Waits for what must come about within some seconds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
