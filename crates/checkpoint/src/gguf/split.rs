//! Models split over several GGUF files: `name-00001-of-00003.gguf` and its siblings.
//!
//! Follows llama.cpp's `gguf-split`: the first file has all metadata, every file has `split.no`
//! (from 0), `split.count` and the tensors of its part.

use std::path::{Path, PathBuf};

use super::header::{self, Header};
use super::metadata::Metadata;
use crate::error::Error;
use crate::file::MappedFile;

/// More parts than any model has; bounds the work of a made-up count.
const MOST_PARTS: u64 = 9999;

/// The files of a model with their headers, in order: one, or all parts of a split.
pub(super) fn open_all(path: &Path) -> Result<Vec<(MappedFile, Header)>, Error> {
    let (file, header) = open_one(path)?;
    let count = header.metadata.unsigned("split.count").unwrap_or(1);
    if count <= 1 {
        return Ok(vec![(file, header)]);
    }
    let parts = sibling_paths(path, count)?;
    let missing: Vec<String> = parts
        .iter()
        .filter(|part| !part.is_file())
        .map(|part| part.display().to_string())
        .collect();
    if !missing.is_empty() {
        let message =
            format!("one of {count} parts, of which these are missing: {}", missing.join(", "));
        return Err(Error::not_a_checkpoint(path, message));
    }
    let mut files = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let (file, header) = open_one(part)?;
        check_part(&header.metadata, number as u64, count, part)?;
        files.push((file, header));
    }
    check_total(&files)?;
    Ok(files)
}

fn open_one(path: &Path) -> Result<(MappedFile, Header), Error> {
    let file = MappedFile::open(path)?;
    let header = header::parse(file.bytes(), path)?;
    Ok((file, header))
}

/// The name without `-00001-of-00003.gguf`, and the count in it.
pub(crate) fn parse_name(name: &str) -> Option<(&str, u64)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(number) && digits(count)).then_some((prefix, count.parse().ok()?))
}

fn sibling_paths(path: &Path, count: u64) -> Result<Vec<PathBuf>, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
    match name {
        Some((prefix, named)) if named == count && count <= MOST_PARTS => Ok((1..=count)
            .map(|number| path.with_file_name(format!("{prefix}-{number:05}-of-{count:05}.gguf")))
            .collect()),
        _ => {
            let message = format!(
                "is {count}, so the file must be named like `name-00001-of-{count:05}.gguf`, as must the others"
            );
            Err(Error::key(path, "split.count", message))
        }
    }
}

fn check_part(metadata: &Metadata, number: u64, count: u64, path: &Path) -> Result<(), Error> {
    for (key, expected) in [("split.no", number), ("split.count", count)] {
        let found = metadata.unsigned(key);
        if found != Some(expected) {
            let found = found.map_or_else(|| "missing".to_owned(), |found| format!("is {found}"));
            return Err(Error::key(path, key, format!("{found}; {expected} is needed")));
        }
    }
    Ok(())
}

fn check_total(files: &[(MappedFile, Header)]) -> Result<(), Error> {
    const KEY: &str = "split.tensors.count";
    let total: usize = files.iter().map(|(_, header)| header.tensors.len()).sum();
    for (file, header) in files {
        if let Some(stated) = header.metadata.unsigned(KEY)
            && stated != total as u64
        {
            return Err(Error::key(
                file.path(),
                KEY,
                format!("is {stated}; the parts have {total}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_name;

    #[test]
    fn names_of_parts() {
        assert_eq!(parse_name("a-b-00002-of-00003.gguf"), Some(("a-b", 3)));
        for name in
            ["a.gguf", "a-2-of-3.gguf", "a-00002-of-00003", "-of-.gguf", "a-0000x-of-00003.gguf"]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
