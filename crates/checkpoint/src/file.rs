//! Files: read whole when they are text, mapped when they hold weights.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::Error;

/// No configuration or index comes near this; a larger file is something else under that name.
const LARGEST_TEXT: u64 = 256 << 20;

/// Linux maps so many bytes of a file around one that is touched, if it has them in memory.
const FAULT_AROUND: usize = 64 << 10;

/// How a file begins that Git LFS left in place of the real one.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The text of a configuration, an index or a tokenizer.
///
/// # Errors
/// The file cannot be read, is no regular file, is larger than any text of a checkpoint, is a
/// pointer of Git LFS, or is not UTF-8 without a byte order mark.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    file.take(LARGEST_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::io(path, source))?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(Error::malformed(path, format!("text of more than {LARGEST_TEXT} bytes")));
    }
    check_start(path, &bytes)?;
    let mark = match bytes.get(..2) {
        Some([0xEF, 0xBB]) if bytes.get(2) == Some(&0xBF) => Some("begins with a byte order mark"),
        Some([0xFF, 0xFE] | [0xFE, 0xFF]) => Some("is UTF-16"),
        _ => None,
    };
    if let Some(mark) = mark {
        let message = format!("{mark}; UTF-8 without a byte order mark is needed: save it again");
        return Err(Error::malformed(path, message));
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::malformed(path, format!("not UTF-8 text: {error}")))
}

/// Opens a regular file. A device or a pipe might never end.
fn open(path: &Path) -> Result<File, Error> {
    let io = |source| Error::io(path, source);
    let metadata = match fs::metadata(path) {
        Err(_) if is_dangling(path) => return Err(dangling(path)),
        other => other.map_err(io)?,
    };
    if !metadata.is_file() {
        return Err(Error::malformed(path, "not a regular file"));
    }
    File::open(path).map_err(io)
}

/// Refuses a file that stands in place of another.
fn check_start(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if !bytes.starts_with(LFS_POINTER) {
        return Ok(());
    }
    let message = "a pointer of Git LFS and not the file itself: `git lfs pull` fetches it";
    Err(Error::malformed(path, message))
}

/// Whether a path is a link to what does not exist.
fn is_dangling(path: &Path) -> bool {
    path.is_symlink() && !path.exists()
}

fn dangling(path: &Path) -> Error {
    let target = fs::read_link(path).unwrap_or_default();
    let message = format!("a link to {}, which does not exist", target.display());
    Error::malformed(path, message)
}

/// Names of the files in a directory, sorted.
///
/// # Errors
/// The directory cannot be read, or a file of a checkpoint is a link to what does not exist.
pub(crate) fn file_names(directory: &Path) -> Result<Vec<String>, Error> {
    let io = |source| Error::io(directory, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        // A name that is not UTF-8 is none that a checkpoint uses.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = directory.join(&name);
        if path.is_file() {
            names.push(name);
        } else if is_dangling(&path)
            && [".safetensors", ".gguf", ".json"].iter().any(|end| name.ends_with(end))
        {
            return Err(dangling(&path));
        }
    }
    names.sort();
    Ok(names)
}

/// A read-only memory map of a whole file.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::io(path, source);
        let file = open(path)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(Error::malformed(path, "the file is empty"));
        }
        // SAFETY: the map is only read. As with every memory map, the bytes are what the file holds
        // at that moment: they stay as they are as long as nobody writes to a checkpoint in use,
        // which the documentation of `Checkpoint::open` asks for. All bytes are valid values of the
        // types they are read as (integers and floats).
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        check_start(path, &map)?;
        Ok(Self { path: path.to_owned(), map })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Lets the pages of a range leave memory; they are read from the file again when they are
    /// touched again. Only a hint: does nothing where the system has no such call.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            if range.end > self.map.len() || range.is_empty() {
                return;
            }
            // What lies before and was let go earlier may have come back with the first page of the
            // range.
            let range = range.start.saturating_sub(FAULT_AROUND)..range.end;
            // SAFETY: on a file mapping that nobody writes to, MADV_DONTNEED only drops cached
            // pages: a later read finds the same bytes in the file. The range is inside the map.
            let outcome = unsafe {
                self.map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    range.start,
                    range.len(),
                )
            };
            if let Err(error) = outcome {
                tracing::debug!(file = %self.path.display(), %error, "pages were not released");
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_read_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let content: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.bytes(), content);
        file.release(5000..90_000);
        file.release(0..usize::MAX);
        file.release(7..7);
        assert_eq!(file.bytes(), content);
    }

    #[test]
    fn empty_and_absent_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("empty");
        fs::write(&path, b"").unwrap();
        assert!(
            MappedFile::open(&path).unwrap_err().to_string().contains("empty: the file is empty")
        );
        assert!(MappedFile::open(&directory.path().join("absent")).is_err());
        assert!(MappedFile::open(directory.path()).is_err());
        fs::write(&path, b"\xff").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("UTF-8"));
    }
}
