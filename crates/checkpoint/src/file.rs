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

/// The text of a configuration or index.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::io(path, source))?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(Error::malformed(path, format!("text of more than {LARGEST_TEXT} bytes")));
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::malformed(path, format!("not UTF-8 text: {error}")))
}

/// Names of the files in a directory, sorted.
pub(crate) fn file_names(directory: &Path) -> Result<Vec<String>, Error> {
    let io = |source| Error::io(directory, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        // A name that is not UTF-8 is none that a checkpoint uses.
        if let Ok(name) = entry.file_name().into_string()
            && directory.join(&name).is_file()
        {
            names.push(name);
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
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(Error::malformed(path, "not a regular file"));
        }
        if metadata.len() == 0 {
            return Err(Error::malformed(path, "the file is empty"));
        }
        // SAFETY: the map is only read. As with every memory map, the bytes are what the file holds
        // at that moment: they stay as they are as long as nobody writes to a checkpoint in use,
        // which the documentation of `Checkpoint::open` asks for. All bytes are valid values of the
        // types they are read as (integers and floats).
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
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
            // What lies before and was let go earlier may have come back with the first page of the range.
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
