//! How a server is set up, and what it serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use stablemate_conversation::Conversation;
use stablemate_engine::{EngineHandle, Sampling};
use stablemate_grammar::{GrammarError, Grammars};
use stablemate_text::Tokenizer;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name or address to listen at. 127.0.0.1 unless told otherwise.
    pub host: String,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// Keys of which a client must show one; with none, everybody may come in.
    pub api_keys: Vec<String>,
    /// Certificate chain and private key, both PEM; without them, plain HTTP.
    pub tls: Option<Tls>,
    /// Origins whose pages may ask (`https://example.org`); `*` is any. With none, only our own page may.
    pub cors_origins: Vec<String>,
    /// The longest body, in bytes.
    pub body_limit: usize,
    /// How long a client may take for the head of a request; also how long an idle connection stays open.
    pub header_timeout: Duration,
    /// How long a client may take for a body.
    pub body_timeout: Duration,
    /// How long requests under way may take to finish once the server is told to stop.
    pub drain_deadline: Duration,
    /// After so much silence a stream sends a comment, so that nobody between takes it for dead.
    pub keep_alive: Duration,
    /// Whether unknown fields of requests are without effect; otherwise they are refused.
    pub lenient: bool,
    /// Whether every name of a model is as good as the model's own; so is an alias `*`.
    pub any_model: bool,
    /// Whether special tokens that are written in messages become special tokens; otherwise they are letters.
    pub parse_special: bool,
    /// Names besides loopback's that a server without a key answers to in `Host`, where it listens at loopback.
    pub hosts: Vec<String>,
    /// Whether `/metrics` is there.
    pub metrics: bool,
    /// Whether SIGTERM and SIGINT stop the server.
    pub signals: bool,
    /// What is being done until the model is there.
    pub loading: Loading,
}

/// What a server does until its model is there, for `/health`. Clones speak of the same one.
#[derive(Clone, Debug, Default)]
pub struct Loading {
    step: Arc<Mutex<Option<String>>>,
}

impl Loading {
    /// Tells what is being done now.
    pub fn tell(&self, step: impl Into<String>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some(step.into());
    }

    pub(crate) fn step(&self) -> Option<String> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The files of TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub certificates: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            api_keys: Vec::new(),
            tls: None,
            cors_origins: Vec::new(),
            body_limit: 32 << 20,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            lenient: false,
            any_model: false,
            parse_special: false,
            hosts: Vec::new(),
            metrics: true,
            signals: true,
            loading: Loading::default(),
        }
    }
}

/// What happens on the way, for who started the server. Called once each, in this order.
#[derive(Default)]
pub struct Callbacks {
    /// The server listens here; requests are answered with 503 until it is ready.
    pub listening: Option<Box<dyn FnOnce(SocketAddr) + Send>>,
    /// The model is loaded.
    pub ready: Option<Box<dyn FnOnce() + Send>>,
    /// The server was told to stop and finishes what is under way.
    pub draining: Option<Box<dyn FnOnce() + Send>>,
}

/// A loaded model.
#[derive(Clone)]
pub struct Served {
    /// The engine that runs it.
    pub engine: EngineHandle,
    /// Its tokenizer, or why there is none: then only requests in token ids are possible that have
    /// no text in their answers.
    pub tokenizer: Result<Tokenizer, String>,
    /// How it converses, or why it cannot.
    pub conversation: Result<Conversation, String>,
    /// Tokens that end a text or a turn.
    pub end_ids: Vec<u32>,
    /// The name in `model`.
    pub id: String,
    /// Other names that are as good.
    pub aliases: Vec<String>,
    /// Unix time in seconds: when the model was made or loaded.
    pub created: u64,
    /// What a client's request leaves out: the model's own settings, if they are to be obeyed; otherwise OpenAI's.
    pub sampling: Option<Sampling>,
    /// The most tokens of an answer where a request does not say; `None`: OpenAI's 16 for completions, and until
    /// the context is full for chat.
    pub max_tokens: Option<usize>,
    /// Names the build and the weights: changes when answers may.
    pub system_fingerprint: String,
}

impl Served {
    /// The name that answers give where a request names no model: the first alias, else the id.
    pub(crate) fn name(&self) -> &str {
        self.aliases.iter().find(|alias| *alias != "*").unwrap_or(&self.id)
    }
}

/// A loaded model and what is made from it once.
pub(crate) struct Loaded {
    pub(crate) served: Served,
    grammars: OnceLock<Result<Grammars, GrammarError>>,
    pub(crate) texts: OnceLock<Arc<crate::generation::TokenTexts>>,
}

impl Loaded {
    pub(crate) fn new(served: Served) -> Self {
        Self { served, grammars: OnceLock::new(), texts: OnceLock::new() }
    }

    /// The grammars of the vocabulary, prepared when first asked for: seconds for a large one.
    pub(crate) fn grammars(&self, tokenizer: &Tokenizer) -> Result<Grammars, GrammarError> {
        let prepare = || {
            let vocabulary = self.served.engine.vocabulary();
            Grammars::new(tokenizer, vocabulary, &self.served.end_ids)
        };
        self.grammars.get_or_init(prepare).clone()
    }
}
