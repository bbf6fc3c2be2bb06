//! A repository's folder in the cache.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::error::HubError;
use super::id::{self, ModelId};

/// Folders within a repository are never deeper.
const DEEPEST: usize = 8;

/// `models--organisation--name`: `blobs` holds contents by their etag, `snapshots/commit` links to them
/// by file name, `refs` holds the commit of each revision.
pub(super) struct Folder {
    layout: CacheRepo,
    path: PathBuf,
    locks: PathBuf,
    revision: String,
}

impl Folder {
    pub(super) fn new(cache: &Path, id: &ModelId) -> Self {
        let repository = repository(id, id.revision());
        let name = repository.folder_name();
        Self {
            layout: Cache::new(cache.to_path_buf()).repo(repository),
            path: cache.join(&name),
            locks: cache.join(".locks").join(&name),
            revision: id.revision().to_owned(),
        }
    }

    /// The content with an etag, which the caller has checked (see `client::etag`).
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(etag)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// The commit that the revision had when it was last recorded.
    pub(super) fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.to_ascii_lowercase());
        }
        let text = fs::read_to_string(self.path.join("refs").join(&self.revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit of the revision. A failure only means that the model is looked up again.
    pub(super) fn record(&self, commit: &str) {
        if self.commit().as_deref() == Some(commit) {
            return;
        }
        if let Err(error) = self.layout.create_ref(commit) {
            tracing::warn!(%error, folder = %self.path.display(), "cannot write refs/{}", self.revision);
        }
    }

    /// The names of the snapshot's files whose contents are there.
    pub(super) fn names(&self, commit: &str) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.snapshot(commit), "", DEEPEST, &mut names);
        names.sort();
        names
    }

    /// Whether the snapshot has the file, with `size` bytes if that is known.
    pub(super) fn holds(&self, commit: &str, name: &str, size: Option<u64>) -> bool {
        let content = fs::metadata(self.snapshot(commit).join(name));
        content
            .is_ok_and(|content| content.is_file() && size.is_none_or(|size| size == content.len()))
    }

    /// Makes `name` of the snapshot mean the content with `etag`.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<(), HubError> {
        let link = self.snapshot(commit).join(name);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent).map_err(HubError::io("create", parent))?;
        }
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(HubError::io("replace", link)(error));
            }
            _ => {}
        }
        // Relative, so that the cache can be moved: out of `snapshots`, the commit, and its folders.
        let depth = name.split('/').count().saturating_add(1);
        let target = Path::new(&"../".repeat(depth)).join("blobs").join(etag);
        self.symlink(&target, &link, etag).map_err(HubError::io("link", link))
    }

    #[cfg(unix)]
    fn symlink(&self, target: &Path, link: &Path, _etag: &str) -> io::Result<()> {
        std::os::unix::fs::symlink(target, link)
    }

    /// Without the right to make links, the snapshot gets the content itself, as `huggingface_hub` does it.
    #[cfg(not(unix))]
    fn symlink(&self, _target: &Path, link: &Path, etag: &str) -> io::Result<()> {
        fs::rename(self.blob(etag), link)
    }

    /// Waits until no other process downloads the content. The lock ends with the returned file.
    pub(super) fn lock(&self, etag: &str) -> Result<File, HubError> {
        fs::create_dir_all(&self.locks).map_err(HubError::io("create", &self.locks))?;
        let path = self.locks.join(format!("{etag}.lock"));
        let open = File::options().create(true).append(true).open(&path);
        let file = open.map_err(HubError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                tracing::info!(lock = %path.display(), "waiting for another download of this file");
                file.lock().map_err(HubError::io("lock", path))?;
                Ok(file)
            }
            Err(TryLockError::Error(error)) => Err(HubError::io("lock", path)(error)),
        }
    }
}

/// The repository of a model at a revision, for `hf-hub`.
pub(super) fn repository(id: &ModelId, revision: &str) -> Repo {
    Repo::with_revision(id.repository().to_owned(), RepoType::Model, revision.to_owned())
}

/// Whether `text` is a full commit hash (SHA-1, or SHA-256 one day), hence a plain file name too.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn collect(folder: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        match fs::metadata(&path) {
            Ok(content) if content.is_file() && id::is_safe_path(&name) => names.push(name),
            Ok(content) if content.is_dir() && depth > 0 => {
                collect(&path, &format!("{name}/"), depth.saturating_sub(1), names);
            }
            // A link whose content was deleted is no file.
            _ => {}
        }
    }
}
