//! Steps as compiled programs: found in the cache, or compiled, some of them while others run.

use super::ExecutorError;
use crate::native::NativeKernels;
use crate::{Progress, ProgressSink};
use stablemate_models::{BLOCK_LENGTH, Bucket, Decoder, EntryPoint, Output};
use stablemate_runtime::{Device, REVISION, Session, Target, Toolchain, VmfbCache};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The entry point's name in the programs compiled here.
pub(super) const STEP: &str = "step";

/// What a program is made from, and where it is kept.
pub(crate) struct Source {
    pub decoder: Decoder,
    /// The kernels that replace decompositions; none for the portable text.
    pub kernels: Option<Arc<NativeKernels>>,
    pub cache: VmfbCache,
    pub data: PathBuf,
    pub progress: ProgressSink,
}

/// A program that was made ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Preparation {
    /// Sizes of the step.
    pub bucket: Bucket,
    /// Seconds that writing the text and compiling it, or finding it compiled, took.
    pub seconds: f64,
    /// Whether it had been compiled before.
    pub from_cache: bool,
}

/// Which program: its sizes, and what it returns besides the state.
pub(super) type Key = (Bucket, Output);

/// A program's file and how it came about.
type Made = Result<(PathBuf, Preparation), ExecutorError>;

/// The programs of one model on one device.
pub(super) struct Programs {
    source: Arc<Source>,
    device: Device,
    sessions: HashMap<Key, Session>,
    under_way: HashMap<Key, JoinHandle<Made>>,
    preparations: Vec<Preparation>,
}

impl Programs {
    pub(super) fn new(source: Arc<Source>, device: Device) -> Self {
        let (sessions, under_way) = (HashMap::new(), HashMap::new());
        Self { source, device, sessions, under_way, preparations: Vec::new() }
    }

    /// Programs that were made ready so far.
    pub(super) fn preparations(&self) -> &[Preparation] {
        &self.preparations
    }

    /// Sees to it that a program will be there, without waiting.
    pub(super) fn begin(&mut self, key: Key) {
        if self.sessions.contains_key(&key) || self.under_way.contains_key(&key) {
            return;
        }
        let source = self.source.clone();
        self.under_way.insert(key, std::thread::spawn(move || source.make(key)));
    }

    /// A program; waits until it is there.
    pub(super) fn session(&mut self, key: Key) -> Result<&Session, ExecutorError> {
        if !self.sessions.contains_key(&key) {
            self.begin(key);
            let made = match self.under_way.remove(&key) {
                Some(thread) => {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                None => self.source.make(key),
            };
            let (path, preparation) = made?;
            let session = Session::load(&self.device, &path)?;
            self.preparations.push(preparation);
            self.sessions.insert(key, session);
        }
        self.sessions.get(&key).ok_or_else(|| super::misfit("its program is missing".into()))
    }

    /// Forgets programs of other sizes than those to come.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
    }
}

impl Drop for Programs {
    /// Lets compilers that run in the background finish: what they make is found the next time.
    fn drop(&mut self) {
        for (_, thread) in self.under_way.drain() {
            // Its failure concerns nobody any more.
            drop(thread.join());
        }
    }
}

impl Source {
    /// The text of a program.
    pub(crate) fn text(&self, (bucket, output): Key) -> Result<String, ExecutorError> {
        let entry = EntryPoint { name: STEP.to_string(), bucket, output };
        let module = self.decoder.module(&[entry])?;
        Ok(match &self.kernels {
            Some(kernels) => module.native(&|site| kernels.call(site))?,
            None => module.to_string(),
        })
    }

    /// A compiled program: from the cache, or compiled now.
    fn make(&self, key: Key) -> Made {
        let (bucket, _) = key;
        let begin = Instant::now();
        let text = self.text(key)?;
        let prepared =
            |from_cache| Preparation { bucket, seconds: begin.elapsed().as_secs_f64(), from_cache };
        let target = Target::Host;
        if let Some(path) = self.cache.lookup(&text, &target, REVISION)? {
            return Ok((path, prepared(true)));
        }
        let toolchain = Toolchain::at(&self.data)?;
        let what = match &self.kernels {
            Some(_) => format!("step of {} tokens", bucket.tokens),
            None => {
                let context = bucket.pages * BLOCK_LENGTH;
                format!("step of {} tokens, context {context}", bucket.tokens)
            }
        };
        (self.progress)(Progress::CompileBegin { what: what.clone() });
        let compiled = self.cache.compile(&toolchain, &text, &target);
        (self.progress)(Progress::CompileEnd { what });
        Ok((compiled?.path, prepared(false)))
    }
}
