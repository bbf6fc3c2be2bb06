//! What all handlers share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use stablemate_engine::Constraint;
use stablemate_grammar::{Grammar, GrammarError, Grammars};
use stablemate_text::Tokenizer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::encoding::Encodings;
use crate::error::ApiError;
use crate::generation::{Prefixes, TokenTexts};
use crate::layers::Record;
use crate::metrics::Metrics;
use crate::options::{Loaded, Options, Served};
use crate::wire::Reading;

/// Long bodies of the greatest length that there is room for at the same time.
const BODIES_AT_ONCE: usize = 1;

/// Bytes that room for bodies is counted in.
const BODY_UNIT: usize = 1 << 10;

/// What all handlers share; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    metrics: Metrics,
    loaded: Arc<OnceLock<Loaded>>,
    draining: AtomicBool,
    encodings: Encodings,
    prefixes: Prefixes,
    /// Room for bodies, in KiB.
    bodies: Arc<Semaphore>,
}

impl AppState {
    /// The state of a server whose model is not there yet.
    pub(crate) fn new(options: Options) -> Self {
        let loaded = Arc::new(OnceLock::new());
        let metrics = Metrics::new(Arc::clone(&loaded));
        let draining = AtomicBool::new(false);
        let room = options.body_limit.saturating_mul(BODIES_AT_ONCE) / BODY_UNIT;
        let bodies = Arc::new(Semaphore::new(room.clamp(1, Semaphore::MAX_PERMITS)));
        let (encodings, prefixes) = (Encodings::default(), Prefixes::default());
        let shared = Shared { options, metrics, loaded, draining, encodings, prefixes, bodies };
        Self { shared: Arc::new(shared) }
    }

    /// From now on the model is there.
    pub(crate) fn install(&self, served: Served) {
        if self.shared.loaded.set(Loaded::new(served)).is_err() {
            tracing::error!("a model is loaded already: the second one is ignored");
        }
    }

    /// How the server is set up.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// What is being encoded.
    pub(crate) fn encodings(&self) -> &Encodings {
        &self.shared.encodings
    }

    /// The last prompts.
    pub(crate) fn prefixes(&self) -> &Prefixes {
        &self.shared.prefixes
    }

    /// Waits for room for a long body, which is given back when the permit is dropped.
    pub(crate) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(BODY_UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.shared.bodies).acquire_many_owned(units).await.ok()
    }

    /// How a request is read, and where is noted what has no effect.
    pub(crate) fn reading(&self, record: Record) -> Reading {
        Reading::new(self.options().lenient, self.metrics().ignored().clone(), record)
    }

    /// From now on the server only finishes what is under way.
    pub(crate) fn begin_draining(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it only finishes what is under way.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    fn loaded(&self) -> Result<&Loaded, ApiError> {
        let loading = || ApiError::unavailable("the model is being loaded").with_code("loading");
        self.shared.loaded.get().ok_or_else(loading)
    }

    /// The model.
    ///
    /// # Errors
    /// 503 while it is being loaded.
    pub fn served(&self) -> Result<&Served, ApiError> {
        Ok(&self.loaded()?.served)
    }

    /// The model that a request names; none is the one there is.
    ///
    /// # Errors
    /// 503 while it is being loaded, 404 for another name.
    pub fn model(&self, name: Option<&str>) -> Result<&Served, ApiError> {
        let served = self.served()?;
        let any = self.options().any_model || served.aliases.iter().any(|alias| alias == "*");
        let known =
            |name: &str| any || served.id == name || served.aliases.iter().any(|a| a == name);
        match name {
            Some(name) if !known(name) => {
                let message =
                    format!("the model {name:?} does not exist: this server has {:?}", served.id);
                Err(ApiError::new(StatusCode::NOT_FOUND, message)
                    .with_parameter("model")
                    .with_code("model_not_found"))
            }
            _ => Ok(served),
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// 503 while the model is being loaded, 400 if it has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, ApiError> {
        self.served()?.tokenizer.as_ref().map_err(|reason| {
            let message = format!("this model has no tokenizer that can be used: {reason}");
            ApiError::invalid(message).with_code("no_tokenizer")
        })
    }

    /// How single tokens read, for log-probabilities.
    ///
    /// # Errors
    /// As [`Self::tokenizer`].
    pub fn texts(&self) -> Result<Arc<TokenTexts>, ApiError> {
        let tokenizer = self.tokenizer()?;
        let make = || Arc::new(TokenTexts::new(tokenizer));
        Ok(Arc::clone(self.loaded()?.texts.get_or_init(make)))
    }

    /// Compiles a grammar. May take its time: to be called inside [`Self::blocking`].
    ///
    /// # Errors
    /// What is wrong with it, as a 400 that names `parameter` and the place in the schema.
    pub fn compile(
        &self,
        parameter: &str,
        grammar: &Grammar,
    ) -> Result<Box<dyn Constraint>, ApiError> {
        let grammars = self.loaded()?.grammars(self.tokenizer()?);
        let compiled = grammars.and_then(|grammars| grammars.compile(grammar));
        compiled.map_err(|error| grammar_error(parameter, error))
    }

    /// The same, several times: a grammar is compiled once.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_all(
        &self,
        parameter: &str,
        grammar: &Grammar,
        count: usize,
    ) -> Result<Vec<Box<dyn Constraint>>, ApiError> {
        let grammars = self.loaded()?.grammars(self.tokenizer()?);
        let compiled = grammars.and_then(|grammars| grammars.compile_all(grammar, count));
        compiled.map_err(|error| grammar_error(parameter, error))
    }

    /// The grammars of the vocabulary. To be called inside [`Self::blocking`].
    ///
    /// # Errors
    /// As [`Self::tokenizer`], and 400 if no grammar can be used with the vocabulary.
    pub fn grammars(&self) -> Result<Grammars, ApiError> {
        Ok(self.loaded()?.grammars(self.tokenizer()?)?)
    }

    /// Runs what takes long (encoding a prompt, rendering a template) where it keeps nobody waiting.
    ///
    /// # Errors
    /// The task's, and 500 if it panics.
    pub async fn blocking<T: Send + 'static>(
        &self,
        task: impl FnOnce(&AppState) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || task(&state)).await;
        done.unwrap_or_else(|_| Err(ApiError::internal("the server failed on this request")))
    }
}

/// A 400 that names where in the schema what is wrong.
fn grammar_error(parameter: &str, error: GrammarError) -> ApiError {
    let place = match &error {
        GrammarError::Schema { pointer, .. } => format!("{parameter}{pointer}"),
        _ => parameter.to_owned(),
    };
    ApiError::from(error).with_parameter(place)
}
