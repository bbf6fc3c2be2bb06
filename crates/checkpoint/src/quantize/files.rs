//! The destination's directory, and what is copied into it beside the weights.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Error;
use crate::hugging_face::CONFIG;

/// Endings of files that belong to a tokenizer, a chat template or a configuration.
const ENDINGS: [&str; 6] = ["json", "jinja", "model", "py", "tiktoken", "txt"];

/// Beginnings of the names of files that go with a model wherever it goes.
const BEGINNINGS: [&str; 3] = ["LICENSE", "NOTICE", "USE_POLICY"];

/// The destination may be empty or absent.
pub(super) fn check_destination(path: &Path) -> Result<(), Error> {
    let exists = path.try_exists().map_err(|error| Error::io(path, error))?;
    if !exists {
        return Ok(());
    }
    if !path.is_dir() {
        return Err(Error::destination(path, "exists and is not a directory"));
    }
    match fs::read_dir(path).map_err(|error| Error::io(path, error))?.next() {
        None => Ok(()),
        Some(_) => Err(Error::destination(
            path,
            "is not empty, and nothing is overwritten: give another directory, or remove this one",
        )),
    }
}

/// A directory beside the destination, which is removed again if it is not completed.
pub(super) fn partial_directory(destination: &Path) -> Result<TempDir, Error> {
    let parent = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent).map_err(|error| Error::io(&parent, error))?;
    let mut prefix = destination.file_name().unwrap_or(OsStr::new("quantized")).to_owned();
    prefix.push(".partial-");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any other directory: what the process's mask leaves of it.
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(&parent).map_err(|error| Error::io(&parent, error))
}

/// Gives the completed directory its name.
pub(super) fn publish(partial: TempDir, destination: &Path) -> Result<(), Error> {
    let io = |error| Error::io(destination, error);
    // Checked to be empty before; if something was put there meanwhile, this fails.
    if destination.is_dir() {
        fs::remove_dir(destination).map_err(io)?;
    }
    fs::rename(partial.path(), destination).map_err(io)?;
    // The name that it would remove is gone.
    let _ = partial.keep();
    Ok(())
}

/// Copies what belongs to the model beside its weights. Returns the names of what is not copied, safetensors aside:
/// files of other kinds and directories, hidden ones (those of version control) aside.
pub(super) fn copy_others(source: &Path, destination: &Path) -> Result<Vec<String>, Error> {
    let io = |error| Error::io(source, error);
    let mut others = Vec::new();
    for entry in fs::read_dir(source).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (path, name) = (entry.path(), entry.file_name());
        let text = name.to_string_lossy();
        // The configuration has been written; an index is that of other files.
        let written = text == CONFIG
            || text.ends_with(".safetensors")
            || text.ends_with(".safetensors.index.json");
        if written || text.starts_with('.') {
            continue;
        }
        let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let wanted =
            ENDINGS.contains(&ending) || BEGINNINGS.iter().any(|begin| text.starts_with(begin));
        if wanted && path.is_file() {
            let target = destination.join(&name);
            // The content, not the file's permissions or a link that it may be.
            let copy = || {
                let mut from = fs::File::open(&path)?;
                let mut to = fs::File::create_new(&target)?;
                std::io::copy(&mut from, &mut to)
            };
            copy().map_err(|error| Error::io(&path, error))?;
        } else {
            others.push(text.into_owned());
        }
    }
    others.sort();
    Ok(others)
}
