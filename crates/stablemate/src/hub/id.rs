//! Ids of models on a hub.

use std::fmt;

/// A model on a hub: `organisation/name`, `organisation/name@revision`,
/// `organisation/name:file.gguf` or `organisation/name@revision:file.gguf`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    repository: String,
    revision: Option<String>,
    file: Option<String>,
}

impl ModelId {
    /// Reads an id. `None` if `text` is none: organisation and name are both needed, each of at most 96
    /// letters, digits, `-`, `_` and `.`, without `--` or `..`, not beginning or ending with `-` or `.`,
    /// and not ending with `.git` (the rules of `huggingface_hub`); a revision is a branch, a tag or a
    /// commit of letters, digits and `-_.+/`; a file is a relative path that ends with `.gguf`.
    ///
    /// ```
    /// use stablemate::hub::ModelId;
    ///
    /// let id = ModelId::parse("organisation/name@v1:q4/name.Q4_K_M.gguf").unwrap();
    /// assert_eq!(id.repository(), "organisation/name");
    /// assert_eq!((id.revision(), id.file()), ("v1", Some("q4/name.Q4_K_M.gguf")));
    /// assert_eq!(ModelId::parse("name"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, file) = match text.split_once(':') {
            Some((text, file)) => (text, Some(file)),
            None => (text, None),
        };
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let (organisation, name) = repository.split_once('/')?;
        let valid = is_name(organisation)
            && is_name(name)
            && revision.is_none_or(is_revision)
            && file.is_none_or(|file| is_gguf(file) && is_safe_path(file));
        valid.then(|| Self {
            repository: repository.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }

    /// `organisation/name`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The branch, tag or commit; `main` if none was given.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The .gguf file asked for.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{file}")?;
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=96).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && !name.ends_with(".git")
        && !name.contains("--")
        && !name.contains("..")
}

fn is_revision(revision: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/".contains(&byte);
    revision.len() <= 128
        && revision.bytes().all(plain)
        && !revision.starts_with('-')
        && is_safe_path(revision)
}

/// Whether `name` is the name of a GGUF file.
pub(super) fn is_gguf(name: &str) -> bool {
    name.get(name.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case(".gguf"))
}

/// Whether `path`, from an id or from a hub, names something below the folder it is joined to,
/// on every system: no empty or dotted segment (`..`), no drive, no control character.
pub(super) fn is_safe_path(path: &str) -> bool {
    path.len() <= 1024
        && path.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.'))
        && !path.contains(['\\', ':'])
        && !path.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written() {
        let cases = [
            ("a/b", "a/b", "main", None),
            ("Org-1/na_me.2", "Org-1/na_me.2", "main", None),
            ("a/b@refs/pr/5", "a/b", "refs/pr/5", None),
            ("a/b@v1.0+cpu", "a/b", "v1.0+cpu", None),
            ("a/b:c.gguf", "a/b", "main", Some("c.gguf")),
            ("a/b@x:d e/c.GGUF", "a/b", "x", Some("d e/c.GGUF")),
            ("a/b:c@d.gguf", "a/b", "main", Some("c@d.gguf")),
        ];
        for (text, repository, revision, file) in cases {
            let id = ModelId::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((id.repository(), id.revision(), id.file()), (repository, revision, file));
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("a/{}", "b".repeat(97));
        let cases = [
            "",
            "name",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "./b",
            "../b",
            "a/..",
            "a/.b",
            "a/b-",
            "a/b--c",
            "a/b..c",
            "a/b.git",
            "a b/c",
            "ä/b",
            "a\\b/c",
            "~/b",
            "a/b@",
            "a/b@..",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@x//y",
            "a/b@-x",
            "a/b@x y",
            "a/b@x@y",
            "a/b:",
            "a/b:c",
            "a/b:c.safetensors",
            "a/b:../c.gguf",
            "a/b:/c.gguf",
            "a/b:c/../d.gguf",
            "a/b:c\\d.gguf",
            "a/b:.gguf",
            "a/b:C:d.gguf",
            "a/b:c\n.gguf",
            "a/b@x/.git/y",
            "https://a/b",
            "a/b?c",
            "a/b%2f",
            &long,
        ];
        for text in cases {
            assert_eq!(ModelId::parse(text), None, "{text}");
        }
    }
}
