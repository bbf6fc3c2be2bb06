//! Files written so that a crash leaves either the old one or the new one, and their checksums.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Bytes read at a time.
pub(crate) const BLOCK: usize = 1 << 20;

/// A digest as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of a file and its length in bytes.
pub(crate) fn digest(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let count = file.read(&mut block).map_err(Error::file("read", path))?;
        let Some(read) = block.get(..count).filter(|read| !read.is_empty()) else {
            return Ok((hexadecimal(&hasher.finalize()), length));
        };
        hasher.update(read);
        length += count as u64;
    }
}

/// Writes `contents` to `path` under a temporary name in the same folder, then renames it there.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
    let folder = parent(path);
    let mut file = tempfile::Builder::new()
        .prefix(".partial-")
        // As ordinary files: what may be shared is decided by the user's umask.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(Error::file("write in", folder))?;
    file.write_all(contents)
        .and_then(|()| file.as_file().sync_all())
        .map_err(Error::file("write", file.path()))?;
    file.persist(path).map_err(|error| Error::file("write", path)(error.error))?;
    sync_folder(folder)
}

/// Moves a finished file to its name for good: synchronised, renamed, and the folder synchronised.
pub(crate) fn move_finished(from: &Path, to: &Path) -> Result<()> {
    File::open(from).and_then(|file| file.sync_all()).map_err(Error::file("synchronise", from))?;
    fs::rename(from, to).map_err(Error::file("write", to))?;
    sync_folder(parent(to))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(Error::file("synchronise", folder))
}

/// The folder a path lies in; the current folder for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_known_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_whole(&path, b"abc").unwrap();
        assert_eq!(
            digest(&path).unwrap(),
            ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(), 3)
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = digest(Path::new("/nonexistent/file")).unwrap_err();
        assert!(error.to_string().contains("cannot open /nonexistent/file"));
    }

    #[test]
    fn bare_names_lie_in_the_current_folder() {
        assert_eq!(parent(Path::new("a")), Path::new("."));
        assert_eq!(parent(Path::new("b/a")), Path::new("b"));
    }
}
