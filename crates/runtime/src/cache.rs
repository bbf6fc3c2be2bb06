//! Compiled modules by the content they were compiled from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compiler;
use crate::error::{Error, Result};
use crate::files;
use crate::target::Target;
use crate::toolchain::Toolchain;

/// The layout of entries; part of every key.
const FORMAT: u32 = 1;

/// How the compiler's working folders begin.
const SCRATCH: &str = ".compiling-";

/// After this time a working folder belongs to no living compiler.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder of compiled modules (`.vmfb`).
///
/// The key of an entry is the SHA-256 of the text, the compiler's revision, its flags and, for
/// [`Target::Host`], the processor. An entry is a pair of files, the module and a note of its checksum,
/// each written under another name, synchronised and renamed. What does not match its note is compiled
/// again. Several processes may use one folder.
#[derive(Clone, Debug)]
pub struct VmfbCache {
    folder: PathBuf,
}

/// A compiled module.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The vmfb file.
    pub path: PathBuf,
    /// Whether it had been compiled before.
    pub from_cache: bool,
    /// Seconds this took.
    pub seconds: f64,
}

/// The note beside a module.
#[derive(Serialize, Deserialize)]
struct Note {
    /// [`FORMAT`] of the writer.
    format: u32,
    /// The entry's key.
    key: String,
    /// The module's size.
    bytes: u64,
    /// The module's SHA-256.
    sha256: String,
    /// For people: what it was compiled for.
    target: String,
    /// For people: what it was compiled with.
    revision: String,
}

impl VmfbCache {
    /// The cache in `folder`, which is created when the first module is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The module of `text` for `target`, compiled now unless it was before.
    ///
    /// # Errors
    /// [`Error::Compile`] with the compiler's diagnostics when the text does not compile or
    /// the compiler crashes (the text is kept beside the entries then); [`Error::File`].
    pub fn compile(&self, toolchain: &Toolchain, text: &str, target: &Target) -> Result<Compiled> {
        let start = Instant::now();
        let key = key(text, target, toolchain.revision())?;
        let path = self.module(&key);
        if self.is_whole(&key) {
            return Ok(Compiled { path, from_cache: true, seconds: start.elapsed().as_secs_f64() });
        }
        fs::create_dir_all(&self.folder).map_err(Error::file("create", &self.folder))?;
        self.sweep();
        let scratch = tempfile::Builder::new()
            .prefix(SCRATCH)
            .tempdir_in(&self.folder)
            .map_err(Error::file("write in", &self.folder))?;
        let kept = self.folder.join(format!("failed-{key}.mlir"));
        let module = compiler::compile(toolchain, text, target, scratch.path(), &kept)?;
        let (sha256, bytes) = files::digest(&module)?;
        files::move_finished(&module, &path)?;
        self.write_note(&Note {
            format: FORMAT,
            key,
            bytes,
            sha256,
            target: target.to_string(),
            revision: toolchain.revision().to_owned(),
        })?;
        let seconds = start.elapsed().as_secs_f64();
        tracing::info!(%target, seconds, bytes, "compiled");
        Ok(Compiled { path, from_cache: false, seconds })
    }

    /// As [`VmfbCache::compile`], and copies the module to `output`.
    ///
    /// # Errors
    /// Those of [`VmfbCache::compile`].
    pub fn compile_to(
        &self,
        toolchain: &Toolchain,
        text: &str,
        target: &Target,
        output: &Path,
    ) -> Result<Compiled> {
        let compiled = self.compile(toolchain, text, target)?;
        let module = fs::read(&compiled.path).map_err(Error::file("read", &compiled.path))?;
        files::write_whole(output, &module)?;
        Ok(Compiled { path: output.to_path_buf(), ..compiled })
    }

    /// The module of `text` for `target` if it was compiled before by the compiler `revision`
    /// ([`crate::REVISION`]), which need not be installed any more.
    ///
    /// # Errors
    /// [`Error::File`] when this machine's processor cannot be found out.
    pub fn lookup(&self, text: &str, target: &Target, revision: &str) -> Result<Option<PathBuf>> {
        let key = key(text, target, revision)?;
        Ok(self.is_whole(&key).then(|| self.module(&key)))
    }

    fn module(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.vmfb"))
    }

    fn note(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    fn write_note(&self, note: &Note) -> Result<()> {
        let path = self.note(&note.key);
        let text = serde_json::to_vec_pretty(note)
            .map_err(|error| Error::file("write", &path)(error.into()))?;
        files::write_whole(&path, &text)
    }

    /// Whether the entry exists and is what was written.
    fn is_whole(&self, key: &str) -> bool {
        let module = self.module(key);
        if !module.exists() {
            return false;
        }
        let whole = self.matches_note(key, &module);
        if !whole {
            tracing::warn!(module = %module.display(), "not what was written: compiling it again");
        }
        whole
    }

    fn matches_note(&self, key: &str, module: &Path) -> bool {
        let Some(note) = fs::read(self.note(key))
            .ok()
            .and_then(|text| serde_json::from_slice::<Note>(&text).ok())
        else {
            return false;
        };
        note.format == FORMAT
            && note.key == key
            && fs::metadata(module).is_ok_and(|metadata| metadata.len() == note.bytes)
            && files::digest(module).is_ok_and(|(sha256, _)| sha256 == note.sha256)
    }

    /// Removes working folders that killed processes left behind. Failing to is no reason to stop.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let ours = entry.file_name().to_string_lossy().starts_with(SCRATCH);
            let stale = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|modified| modified.elapsed().ok())
                .is_some_and(|age| age > STALE);
            if ours
                && stale
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(%error, folder = %entry.path().display(), "cannot be removed");
            }
        }
    }
}

/// The key of an entry.
fn key(text: &str, target: &Target, revision: &str) -> Result<String> {
    let mut hasher = Sha256::new();
    for part in
        [&FORMAT.to_string(), revision, &target.flags().join("\n"), &target.environment()?, text]
    {
        // With its length before it, no part can run into the next.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Ok(files::hexadecimal(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_depends_on_everything() {
        let base = key("text", &Target::Host, "revision").unwrap();
        assert_eq!(base, key("text", &Target::Host, "revision").unwrap());
        assert_eq!(base.len(), 64);
        let cuda: Target = "cuda".parse().unwrap();
        for other in [
            key("text ", &Target::Host, "revision").unwrap(),
            key("text", &cuda, "revision").unwrap(),
            key("text", &"cuda:sm_89".parse().unwrap(), "revision").unwrap(),
            key("text", &Target::Host, "revision2").unwrap(),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn only_whole_entries_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = VmfbCache::new(folder.path().join("cache"));
        let look = || cache.lookup("text", &Target::Vmvx, "r").unwrap();
        assert_eq!(look(), None);

        fs::create_dir(cache.folder()).unwrap();
        let key = key("text", &Target::Vmvx, "r").unwrap();
        let module = cache.module(&key);
        fs::write(&module, b"abc").unwrap();
        assert_eq!(look(), None, "no note");

        let mut note = Note {
            format: FORMAT,
            key: key.clone(),
            bytes: 3,
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
            target: String::new(),
            revision: String::new(),
        };
        cache.write_note(&note).unwrap();
        assert_eq!(look(), Some(module.clone()));

        fs::write(&module, b"abd").unwrap();
        assert_eq!(look(), None, "changed");
        fs::write(&module, b"ab").unwrap();
        assert_eq!(look(), None, "truncated");

        fs::write(&module, b"abc").unwrap();
        fs::write(cache.note(&key), b"{").unwrap();
        assert_eq!(look(), None, "damaged note");

        let right = std::mem::replace(&mut note.key, "other".to_owned());
        let text = serde_json::to_vec(&note).unwrap();
        fs::write(cache.note(&right), text).unwrap();
        assert_eq!(look(), None, "another entry's note");
    }
}
