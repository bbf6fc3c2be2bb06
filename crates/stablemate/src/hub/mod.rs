//! Models named by their id on a hub: `organisation/name`.
//!
//! A model is fetched into the cache that `huggingface_hub` and its relatives share (`blobs`, `refs`,
//! `snapshots`), so what another program has downloaded is used and the other way round.
//! Layout and addresses are those of the crate `hf-hub`. Its transfers are not used: it would
//! give the token to the host that a file is redirected to, append to a partial file whatever the
//! server sends, panic on odd headers, and lose what the server says about a refusal.
//!
//! ```text
//! ModelId ── Client::listing ── select::choose ── Transfer::fetch (each file) ── Folder (snapshot)
//! ```
//!
//! Proxies are those that the HTTP client `ureq` finds in the environment (`HTTPS_PROXY`, `NO_PROXY`, …).

mod client;
mod download;
mod environment;
mod error;
mod folder;
mod id;
mod select;

use std::fmt;
use std::path::{Path, PathBuf};

pub use error::HubError;
pub use id::ModelId;
pub use select::Unfit;

use client::{Client, Listing};
use download::Transfer;
use folder::Folder;
use select::Choice;

/// A hub, and the folder in which its models are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Hub {
    /// The address, `http://…` or `https://…`, to which paths such as `/api/models/…` are added.
    pub endpoint: String,
    /// The folder that holds `models--organisation--name`.
    pub cache: PathBuf,
    /// The access token, sent to the hub (and no other host).
    pub token: Option<String>,
    /// Whether only the cache is used.
    pub offline: bool,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "(secret)"))
            .field("offline", &self.offline)
            .finish()
    }
}

/// How much of a file has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The file's name in the repository.
    pub file: String,
    /// Bytes in the cache, those of an earlier, interrupted download included.
    pub bytes_done: u64,
    /// The file's size in bytes.
    pub bytes_total: u64,
}

/// Receives the progress of downloads.
pub type DownloadSink<'a> = dyn Fn(Download) + 'a;

impl Hub {
    /// The hub by the conventions of `huggingface_hub`, from variables looked up with `lookup`
    /// (this library reads no process environment of its own). An empty variable counts as unset.
    ///
    /// - address: `HF_ENDPOINT`, else the public hub;
    /// - cache: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `$HF_HOME/hub`; `HF_HOME` defaults to
    ///   `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`;
    /// - token: `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, else the file
    ///   `$HF_HOME/token`; none if `HF_HUB_DISABLE_IMPLICIT_TOKEN` is true;
    /// - offline: `HF_HUB_OFFLINE`, else `TRANSFORMERS_OFFLINE`, is one of 1, true, yes, on.
    ///
    /// ```
    /// let hub = stablemate::hub::Hub::from_environment(&|name| std::env::var(name).ok());
    /// ```
    ///
    /// # Errors
    /// An address that is not http or https, no folder for the cache (`HOME` unset too), a token file
    /// that cannot be read.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        environment::hub(lookup)
    }

    /// The local path of a model, whose missing files are downloaded: a directory with `config.json`,
    /// tokenizer and safetensors weights, or a .gguf file (of a split model the first; the others lie
    /// beside it).
    ///
    /// A repository with safetensors weights gives the directory, one without but with a single
    /// .gguf file (`mmproj-…` aside) gives that file. Files already in the cache are not downloaded
    /// again; the hub is still asked for the revision's commit, and if it cannot be reached, the
    /// cached model is used if it is complete. An interrupted download goes on where it stopped.
    ///
    /// # Errors
    /// See [`HubError`]. What was downloaded stays in the cache, complete or marked as incomplete.
    pub fn fetch(&self, id: &ModelId, progress: &DownloadSink<'_>) -> Result<PathBuf, HubError> {
        let folder = Folder::new(&self.cache, id);
        if self.offline {
            return cached(&folder, id).map_err(|missing| missing.offline(id, &self.cache));
        }
        let client = Client::new(&self.endpoint, self.token.as_deref())?;
        match client.listing(id) {
            Ok(listing) => fetch_listed(&client, &folder, id, &listing, progress),
            Err(error) if error.is_passing() => match cached(&folder, id) {
                Ok(path) => {
                    tracing::warn!(%error, model = %id, "using the cached model as it is");
                    Ok(path)
                }
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

fn fetch_listed(
    client: &Client<'_>,
    folder: &Folder,
    id: &ModelId,
    listing: &Listing,
    progress: &DownloadSink<'_>,
) -> Result<PathBuf, HubError> {
    let names: Vec<&str> = listing.files.keys().map(String::as_str).collect();
    let unfit = |unfit| HubError::Unfit { model: id.to_string(), unfit };
    let transfer = Transfer { client, folder, id, listing, progress };
    let path = match select::choose(id, &names).map_err(unfit)? {
        Choice::Gguf { first, others } => {
            transfer.fetch(&first)?;
            transfer.fetch_all(&others)?;
            folder.snapshot(&listing.commit).join(first)
        }
        Choice::Directory { small, weights } => {
            // The weights come last: where they are all there, everything is.
            transfer.fetch_all(&small)?;
            let directory = folder.snapshot(&listing.commit);
            let weights = match weights {
                Some(files) => files,
                None => select::shards(&directory, &names).map_err(unfit)?,
            };
            transfer.fetch_all(&weights)?;
            directory
        }
    };
    folder.record(&listing.commit);
    Ok(path)
}

/// What the cache lacks for a model.
enum Missing {
    Revision,
    Unfit(Unfit),
}

impl Missing {
    fn offline(self, id: &ModelId, cache: &Path) -> HubError {
        let missing = match self {
            Self::Revision => format!("revision `{}`", id.revision()),
            // This is no want of the cache.
            Self::Unfit(unfit @ Unfit::Ambiguous { .. }) => {
                return HubError::Unfit { model: id.to_string(), unfit };
            }
            Self::Unfit(unfit) => unfit.missing(),
        };
        HubError::Offline { model: id.to_string(), cache: cache.to_path_buf(), missing }
    }
}

/// The path of a model of which the cache has all.
fn cached(folder: &Folder, id: &ModelId) -> Result<PathBuf, Missing> {
    let commit = folder.commit().ok_or(Missing::Revision)?;
    let names = folder.names(&commit);
    if names.is_empty() {
        return Err(Missing::Revision);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match select::choose(id, &names).map_err(Missing::Unfit)? {
        Choice::Gguf { first, .. } => Ok(folder.snapshot(&commit).join(first)),
        Choice::Directory { weights, .. } => {
            let directory = folder.snapshot(&commit);
            if weights.is_none() {
                select::shards(&directory, &names).map_err(Missing::Unfit)?;
            }
            Ok(directory)
        }
    }
}
