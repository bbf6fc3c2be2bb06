//! Getting the content of a file into the cache.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::client::{Client, Listing, Metadata};
use super::error::HubError;
use super::folder::Folder;
use super::id::{self, ModelId};
use super::{Download, DownloadSink};

/// Marks a content that is not complete. Not the name that `huggingface_hub` uses: some of its
/// transfers write the parts of a file out of order, so that a length says nothing.
const INCOMPLETE: &str = "stablemate.incomplete";

/// Failures in a row, without any new byte, that are put up with.
const MOST_FAILURES: u32 = 3;

/// The pause after the first of them; it doubles each time.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes per read, and between two reports of progress.
const CHUNK: usize = 256 << 10;

/// Files of one model at one commit on their way into the cache.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) folder: &'a Folder,
    pub(super) id: &'a ModelId,
    pub(super) listing: &'a Listing,
    pub(super) progress: &'a DownloadSink<'a>,
}

/// A file to be downloaded.
struct Wanted<'a> {
    name: &'a str,
    size: u64,
    /// The SHA-256 of the content, where the etag is that.
    sha256: Option<&'a str>,
    incomplete: PathBuf,
}

impl Transfer<'_> {
    pub(super) fn fetch_all(&self, names: &[String]) -> Result<(), HubError> {
        names.iter().try_for_each(|name| self.fetch(name))
    }

    /// Makes the snapshot have the file `name`.
    pub(super) fn fetch(&self, name: &str) -> Result<(), HubError> {
        let commit = &self.listing.commit;
        if !id::is_safe_path(name) {
            let url = self.client.url(self.id, commit, name);
            return Err(HubError::BadReply { url, message: "is no proper file name".to_owned() });
        }
        let listed = self.listing.files.get(name).copied().flatten();
        if self.folder.holds(commit, name, listed) {
            return Ok(());
        }
        let metadata = persist(|| 0, || self.client.metadata(self.id, commit, name));
        let Metadata { etag, size } = metadata?;
        let Some(size) = size.or(listed) else {
            let url = self.client.url(self.id, commit, name);
            let message = "the hub does not tell the size of the file".to_owned();
            return Err(HubError::BadReply { url, message });
        };
        let _lock = self.folder.lock(&etag)?;
        if self.folder.holds(commit, name, Some(size)) {
            // Another process was faster.
            return Ok(());
        }
        let blob = self.folder.blob(&etag);
        if !fs::metadata(&blob).is_ok_and(|content| content.is_file() && content.len() == size) {
            let incomplete = blob.with_file_name(format!("{etag}.{INCOMPLETE}"));
            // Git's own hashes have 40 digits and cover more than the content.
            let is_sha256 = etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
            let sha256 = is_sha256.then_some(etag.as_str());
            self.download(&Wanted { name, size, sha256, incomplete: incomplete.clone() })?;
            fs::rename(&incomplete, &blob).map_err(HubError::io("rename", incomplete))?;
        }
        self.folder.link(commit, name, &etag)
    }

    /// Fills the incomplete file until it is complete, over several attempts if need be.
    fn download(&self, wanted: &Wanted<'_>) -> Result<(), HubError> {
        if let Some(parent) = wanted.incomplete.parent() {
            fs::create_dir_all(parent).map_err(HubError::io("create", parent))?;
        }
        persist(|| length(&wanted.incomplete), || self.attempt(wanted))
    }

    fn attempt(&self, wanted: &Wanted<'_>) -> Result<(), HubError> {
        let mut partial = Partial::open(wanted)?;
        self.report(wanted, partial.length);
        if partial.length < wanted.size {
            let commit = &self.listing.commit;
            let response = self.client.open(self.id, commit, wanted.name, partial.length)?;
            match response.status().as_u16() {
                206 if starts_at(&response, partial.length) => {
                    self.copy(wanted, response, &mut partial)?;
                }
                206 => {
                    let url = self.client.url(self.id, commit, wanted.name);
                    let message = format!("not the bytes from {} on", partial.length);
                    return Err(HubError::BadReply { url, message });
                }
                // No such bytes: the next attempt asks for all of them.
                416 => partial.restart()?,
                _ => {
                    partial.restart()?;
                    self.copy(wanted, response, &mut partial)?;
                }
            }
        }
        if partial.length < wanted.size {
            return Err(self.interrupted(wanted, partial.length, "the connection was closed"));
        }
        partial.finish(self.id)
    }

    fn copy(
        &self,
        wanted: &Wanted<'_>,
        response: Response<Body>,
        partial: &mut Partial<'_>,
    ) -> Result<(), HubError> {
        let mut reader = response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match reader.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(self.interrupted(wanted, partial.length, &error.to_string()));
                }
            };
            let received = chunk.get(..count).unwrap_or_default();
            if count as u64 > wanted.size.saturating_sub(partial.length) {
                partial.restart()?;
                let url = self.client.url(self.id, &self.listing.commit, wanted.name);
                let message = format!("more than the {} bytes announced", wanted.size);
                return Err(HubError::BadReply { url, message });
            }
            partial.append(received)?;
            self.report(wanted, partial.length);
        }
    }

    fn report(&self, wanted: &Wanted<'_>, bytes_done: u64) {
        let file = wanted.name.to_owned();
        (self.progress)(Download { file, bytes_done, bytes_total: wanted.size });
    }

    fn interrupted(&self, wanted: &Wanted<'_>, done: u64, reason: &str) -> HubError {
        HubError::Interrupted {
            model: self.id.to_string(),
            file: wanted.name.to_owned(),
            done,
            total: wanted.size,
            reason: reason.to_owned(),
        }
    }
}

/// Repeats `attempt` while it fails for reasons that pass, and not too often in a row without
/// `reached` becoming more than it ever was.
fn persist<T>(
    reached: impl Fn() -> u64,
    attempt: impl Fn() -> Result<T, HubError>,
) -> Result<T, HubError> {
    let mut most = reached();
    let mut failures = 0;
    loop {
        let error = match attempt() {
            Err(error) if error.is_passing() => error,
            done => return done,
        };
        let now = reached();
        failures = if now > most { 1 } else { failures + 1 };
        most = most.max(now);
        if failures > MOST_FAILURES {
            return Err(error);
        }
        tracing::warn!(%error, "trying again");
        std::thread::sleep(PAUSE.saturating_mul(1 << (failures - 1)));
    }
}

/// Whether the body of a partial answer begins with byte `from`.
fn starts_at(response: &Response<Body>, from: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-'));
    start.is_some_and(|(start, _)| start.parse() == Ok(from))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// An incomplete file, its end being where writing goes on.
struct Partial<'a> {
    wanted: &'a Wanted<'a>,
    file: File,
    length: u64,
    hash: Option<Sha256>,
}

impl<'a> Partial<'a> {
    /// Opens what is there of a file; what is too long to be it is dropped.
    fn open(wanted: &'a Wanted<'a>) -> Result<Self, HubError> {
        let path = &wanted.incomplete;
        let options =
            File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = options.map_err(HubError::io("open", path))?;
        let length = length(path);
        let hash = wanted.sha256.map(|_| Sha256::new());
        let mut partial = Self { wanted, file, length, hash };
        if length > wanted.size {
            partial.restart()?;
        } else {
            partial.take_in().map_err(HubError::io("read", path))?;
        }
        Ok(partial)
    }

    /// Moves to the end, hashing what is there.
    fn take_in(&mut self) -> io::Result<()> {
        let Some(hash) = &mut self.hash else {
            self.length = self.file.seek(SeekFrom::End(0))?;
            return Ok(());
        };
        let mut chunk = vec![0; CHUNK];
        self.length = 0;
        loop {
            let count = self.file.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            hash.update(chunk.get(..count).unwrap_or_default());
            self.length = self.length.saturating_add(count as u64);
        }
    }

    fn restart(&mut self) -> Result<(), HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(HubError::io("empty", &self.wanted.incomplete))?;
        self.length = 0;
        self.hash = self.wanted.sha256.map(|_| Sha256::new());
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io("write", &self.wanted.incomplete))?;
        self.length = self.length.saturating_add(bytes.len() as u64);
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        Ok(())
    }

    /// Checks the complete content and puts it on the disk for good.
    fn finish(self, id: &ModelId) -> Result<(), HubError> {
        let path = &self.wanted.incomplete;
        if let (Some(expected), Some(hash)) = (self.wanted.sha256, self.hash) {
            let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if !found.eq_ignore_ascii_case(expected) {
                fs::remove_file(path).map_err(HubError::io("delete", path))?;
                return Err(HubError::Corrupt {
                    model: id.to_string(),
                    file: self.wanted.name.to_owned(),
                    expected: expected.to_owned(),
                    found,
                });
            }
        }
        self.file.sync_all().map_err(HubError::io("write", path))
    }
}
