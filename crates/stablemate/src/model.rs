//! A model that is ready to generate.

use crate::completion::{Completion, GenerateOptions};
use crate::executor::{Executor, Source};
use crate::native::NativeKernels;
use crate::service::{gguf_sampling, sampling_defaults};
use crate::{Backend, Error, LoadOptions, MemoryPlan, Message, Prompt, inspect, source, weights};
use stablemate_checkpoint::{Checkpoint, Format, gguf};
use stablemate_engine::{Generator, Limits, Sampling};
use stablemate_kernels::Activations;
use stablemate_models::Decoder;
use stablemate_runtime::{Buffer, CpuOptions, Device, VmfbCache};
use stablemate_text::{ChatInput, ChatTemplate, LocalTime, StopStrings, Tokenizer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A model with its tokenizer, its weights on a device, and a cache for one sequence.
pub struct Model {
    path: PathBuf,
    generator: Generator<Executor>,
    /// The tokenizer, if there is one, or why it cannot be read.
    tokenizer: Result<Option<Tokenizer>, String>,
    end_ids: Vec<u32>,
    unused_tensors: Vec<String>,
    unapplied: Vec<String>,
    load_time: Duration,
    memory: MemoryPlan,
    sampling: Sampling,
}

impl Model {
    /// Loads the checkpoint at `path`: a Hugging Face directory or a .gguf file. Steps are compiled
    /// when they are first needed.
    ///
    /// # Errors
    /// Damaged or missing files, configurations that no family honours, too little memory.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, Error> {
        let begin = Instant::now();
        let path = path.as_ref().to_path_buf();
        let source::Opened { checkpoint, decoder } = source::open_as(&path, options.quantize)?;
        if !checkpoint.has_weights() {
            return Err(Error::NoWeights { path });
        }
        let tokenizer = tokenizer(&checkpoint).map_err(|error| error.to_string());
        let mut end_ids = checkpoint.end_of_sequence_ids();
        if let Ok(Some(tokenizer)) = &tokenizer {
            end_ids.extend(tokenizer.end_ids());
        }
        end_ids.sort_unstable();
        end_ids.dedup();
        let unused_tensors = inspect::unused(&checkpoint, &decoder);
        let unapplied = checkpoint.generation_config().map_or_else(Vec::new, unapplied);
        let own = checkpoint.gguf_metadata().map(gguf_sampling);
        let sampling = sampling_defaults(checkpoint.generation_config().or(own.as_ref()));
        let (executor, memory) = executor(options, &checkpoint, decoder)?;
        let (generator, load_time) = (Generator::new(executor), begin.elapsed());
        Ok(Self {
            path,
            generator,
            tokenizer,
            end_ids,
            unused_tensors,
            unapplied,
            load_time,
            memory,
            sampling,
        })
    }

    /// Begins to continue `prompt`. Nothing is computed before the first piece is asked for.
    ///
    /// # Errors
    /// Prompts that do not fit, parameters outside their ranges, text without a tokenizer.
    pub fn generate(
        &mut self,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Completion<'_>, Error> {
        let ids = self.encode(prompt.into())?;
        let stops = StopStrings::new(&options.stop)?;
        if !options.stop.is_empty() {
            // Without a tokenizer there is no text in which a stop string could be found.
            self.require_tokenizer()?;
        }
        let detokenizer = self.tokenizer().map(|tokenizer| {
            let mut stream = tokenizer.stream(true);
            // What follows continues the prompt: a leading space is not stripped as at a text's beginning.
            stream.skip(&ids);
            stream
        });
        let end_ids = if options.ignore_end { Vec::new() } else { self.end_ids.clone() };
        let limits =
            Limits { max_tokens: options.max_tokens, min_tokens: options.min_tokens, end_ids };
        let generation = self.generator.generate(&ids, &options.sampling, limits)?;
        Ok(Completion::new(generation, ids, detokenizer, stops))
    }

    /// Logits `[V]` of the token after `prompt`.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn logits(&mut self, prompt: impl Into<Prompt>) -> Result<Vec<f32>, Error> {
        let ids = self.encode(prompt.into())?;
        Ok(self.generator.logits(&ids)?)
    }

    /// Token ids of a prompt.
    ///
    /// # Errors
    /// Text without a tokenizer, conversations without a chat template or that it refuses.
    pub fn encode(&self, prompt: Prompt) -> Result<Vec<u32>, Error> {
        let ids = match prompt {
            Prompt::Ids(ids) => return Ok(ids),
            Prompt::Text(text) => self.require_tokenizer()?.encode(&text, true)?,
            Prompt::Chat(messages) => {
                let text = self.render(&messages)?;
                // The template writes the tokens that begin a text itself.
                self.require_tokenizer()?.encode(&text, false)?
            }
        };
        let vocabulary = self.decoder().vocabulary;
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(&id) => Err(Error::TokenizerMismatch { path: self.path.clone(), id, vocabulary }),
            None => Ok(ids),
        }
    }

    /// The prompt that the chat template makes of a conversation, up to where the answer begins.
    ///
    /// # Errors
    /// There is no template, or it refuses the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String, Error> {
        let Some(template) = self.chat_template()? else {
            return Err(Error::NoChatTemplate { path: self.path.clone() });
        };
        let now = LocalTime { time: SystemTime::now(), utc_offset_seconds: 0 };
        Ok(template.render(&ChatInput::new(Message::json(messages), now))?)
    }

    /// Whether conversations can be given.
    ///
    /// # Errors
    /// A template that does not parse.
    pub fn has_chat_template(&self) -> Result<bool, Error> {
        Ok(self.chat_template()?.is_some())
    }

    fn chat_template(&self) -> Result<Option<ChatTemplate>, Error> {
        match &self.tokenizer {
            Ok(Some(tokenizer)) => Ok(tokenizer.chat_template(false)?),
            _ => Ok(None),
        }
    }

    /// The tokenizer, if the checkpoint has one that can be read.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref().ok()?.as_ref()
    }

    /// Why the checkpoint's tokenizer cannot be read, if it has one that cannot.
    pub fn tokenizer_error(&self) -> Option<&str> {
        self.tokenizer.as_ref().err().map(String::as_str)
    }

    fn require_tokenizer(&self) -> Result<&Tokenizer, Error> {
        match &self.tokenizer {
            Ok(Some(tokenizer)) => Ok(tokenizer),
            Ok(None) => Err(Error::NoTokenizer { path: self.path.clone() }),
            Err(message) => Err(Error::TokenizerUnavailable { message: message.clone() }),
        }
    }

    /// The model's description.
    pub fn decoder(&self) -> &Decoder {
        self.generator.runner().decoder()
    }

    /// The checkpoint.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tokens that end a text or a turn, from `generation_config.json`, `config.json` and GGUF.
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// Tensors of the checkpoint that the model does not use, as the reference does not.
    pub fn unused_tensors(&self) -> &[String] {
        &self.unused_tensors
    }

    /// Settings of `generation_config.json` that change which token follows, and that this version does
    /// not apply: `repetition_penalty = 1.05`.
    pub fn unapplied_settings(&self) -> &[String] {
        &self.unapplied
    }

    /// What memory is meant for.
    pub fn memory(&self) -> MemoryPlan {
        self.memory
    }

    /// How `generation_config.json` would choose tokens; the OpenAI API's way where it does not say.
    pub fn sampling_defaults(&self) -> Sampling {
        self.sampling.clone()
    }

    /// What runs the steps, the tokenizer, the tokens that end a text, and what memory is meant for.
    pub(crate) fn into_parts(
        self,
    ) -> (Executor, Result<Option<Tokenizer>, String>, Vec<u32>, MemoryPlan) {
        (self.generator.into_runner(), self.tokenizer, self.end_ids, self.memory)
    }

    /// What runs the steps, without the tokenizer.
    pub fn into_executor(self) -> Executor {
        self.generator.into_runner()
    }

    /// How long opening and reading the checkpoint took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }
}

/// A checkpoint's weights on a device.
fn executor(
    options: &LoadOptions,
    checkpoint: &Checkpoint,
    mut decoder: Decoder,
) -> Result<(Executor, MemoryPlan), Error> {
    decoder.set_cache_element(options.cache);
    let kernels = match options.backend {
        Backend::Native => Some(Arc::new(NativeKernels::new(options)?)),
        Backend::Portable if options.activations != Activations::Exact => {
            return Err(Error::NativeOnly { what: "rounding activations to 8 bits" });
        }
        Backend::Portable if options.isa.is_some() => {
            return Err(Error::NativeOnly { what: "a choice of instructions" });
        }
        Backend::Portable => None,
    };
    let device = match &kernels {
        Some(kernels) => Device::native(kernels.clone())?,
        None => Device::cpu(&CpuOptions { threads: options.threads })?,
    };
    let loading = weights::Loading {
        device: &device,
        checkpoint,
        quantize: options.quantize,
        progress: &options.progress,
    };
    let buffers = weights::load(&loading, &decoder.params)?;
    let weights = buffers.iter().map(Buffer::bytes).sum();
    let memory = MemoryPlan::new(options, &decoder, weights)?;
    let source = Source {
        decoder,
        kernels,
        cache: VmfbCache::new(options.folders.cache.clone()),
        data: options.folders.data.clone(),
        progress: options.progress.clone(),
    };
    Ok((Executor::new(device, Arc::new(source), buffers, memory.context), memory))
}

/// Settings that filter or change logits even when the most probable token is taken, with the values
/// that mean nothing.
const LOGIT_SETTINGS: [(&str, &[f64]); 7] = [
    ("repetition_penalty", &[1.0]),
    ("no_repeat_ngram_size", &[0.0]),
    ("suppress_tokens", &[]),
    ("begin_suppress_tokens", &[]),
    ("bad_words_ids", &[]),
    ("sequence_bias", &[]),
    ("min_new_tokens", &[0.0]),
];

fn unapplied(settings: &serde_json::Value) -> Vec<String> {
    let matters = |(key, neutral): &(&str, &[f64])| {
        let value = settings.get(key)?;
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        let says_nothing = empty || value.as_f64().is_some_and(|value| neutral.contains(&value));
        (!says_nothing).then(|| format!("{key} = {value}"))
    };
    LOGIT_SETTINGS.iter().filter_map(matters).collect()
}

/// The checkpoint's tokenizer, if it has one.
pub(crate) fn tokenizer(
    checkpoint: &Checkpoint,
) -> Result<Option<Tokenizer>, stablemate_text::Error> {
    match checkpoint.format() {
        Format::HuggingFace => Tokenizer::from_directory(checkpoint.path()),
        Format::Gguf => checkpoint.gguf_metadata().map_or(Ok(None), Tokenizer::from_gguf),
    }
}

/// The tokenizer of the checkpoint at `path`, without loading its weights. A GGUF file may hold a vocabulary
/// alone, or a model of any architecture.
///
/// # Errors
/// Damaged files, tokenizers that cannot be honoured, and checkpoints without one.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer, Error> {
    // A folder may hold a tokenizer and nothing else.
    let tokenizer = if !path.is_dir() {
        Tokenizer::from_gguf(&gguf::read_metadata(path)?)?
    } else if !path.join("config.json").exists() {
        match Tokenizer::from_directory(path)? {
            None => tokenizer(&Checkpoint::open(path)?)?,
            found => found,
        }
    } else {
        tokenizer(&Checkpoint::open(path)?)?
    };
    tokenizer.ok_or_else(|| Error::NoTokenizer { path: path.to_path_buf() })
}
