//! What is asked of a hub over HTTP.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body, RequestBuilder};

use super::error::HubError;
use super::folder;
use super::id::ModelId;

/// A listing is a few hundred kilobytes at most, unless a repository has very many files.
const LARGEST_LISTING: u64 = 64 << 20;

/// Redirections that stay on the hub (renamed repositories, its own store).
const MOST_REDIRECTIONS: u32 = 10;

/// What stays as it is in the path of an address.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A connection to a hub.
pub(super) struct Client<'a> {
    agent: Agent,
    endpoint: &'a str,
    origin: String,
    token: Option<&'a str>,
}

/// The files of a repository at a commit, with their sizes as far as the hub gives them.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: BTreeMap<String, Option<u64>>,
}

/// What the hub says about a file.
pub(super) struct Metadata {
    /// Names the content: a hash without quotes, usable as a file name.
    pub(super) etag: String,
    /// Bytes, if known before the transfer.
    pub(super) size: Option<u64>,
}

/// The hub's answer to a question about a revision.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

impl<'a> Client<'a> {
    pub(super) fn new(endpoint: &'a str, token: Option<&'a str>) -> Result<Self, HubError> {
        if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(HubError::InvalidToken);
        }
        let endpoint = endpoint.trim_end_matches('/');
        let (origin, local) = origin(endpoint)?;
        let mut settings = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(MOST_REDIRECTIONS)
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .user_agent(concat!("stablemate/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)));
        if local {
            settings = settings.proxy(None);
        }
        Ok(Self { agent: settings.build().into(), endpoint, origin, token })
    }

    /// The files of a model at its revision.
    pub(super) fn listing(&self, id: &ModelId) -> Result<Listing, HubError> {
        let path = folder::repository(id, id.revision()).api_url().replace('+', "%2B");
        let url = format!("{}/api/{path}?blobs=true", self.endpoint);
        let request = self.authorized(self.agent.get(&url));
        let mut response = request.call().map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            let what = format!("model `{}` with revision `{}`", id.repository(), id.revision());
            return Err(self.refusal(id, &what, &url, &response));
        }
        let bad = |message: String| HubError::BadReply { url: url.clone(), message };
        let body = response.body_mut().with_config().limit(LARGEST_LISTING).read_to_vec();
        let body = body.map_err(|error| self.unreachable(error))?;
        let info: Info = serde_json::from_slice(&body)
            .map_err(|error| bad(format!("not a description of a model: {error}")))?;
        if !folder::is_commit(&info.sha) {
            return Err(bad(format!("`sha` is {:?}, not a commit hash", info.sha)));
        }
        if folder::is_commit(id.revision()) && !info.sha.eq_ignore_ascii_case(id.revision()) {
            return Err(bad(format!("answers with another commit, {}", info.sha)));
        }
        let files = info.siblings.into_iter().map(|file| (file.rfilename, file.size)).collect();
        Ok(Listing { commit: info.sha, files })
    }

    /// Where a file is got from.
    pub(super) fn url(&self, id: &ModelId, commit: &str, file: &str) -> String {
        let repository = folder::repository(id, commit);
        let file = utf8_percent_encode(file, PLAIN);
        format!(
            "{}/{}/resolve/{}/{file}",
            self.endpoint,
            repository.url(),
            repository.url_revision()
        )
    }

    /// What the hub says about a file. Redirections are followed while they stay on the hub: the
    /// store behind it knows neither the etag nor, always, the size.
    pub(super) fn metadata(
        &self,
        id: &ModelId,
        commit: &str,
        file: &str,
    ) -> Result<Metadata, HubError> {
        let mut url = self.url(id, commit, file);
        for _ in 0..=MOST_REDIRECTIONS {
            let request = self.agent.head(&url).config().max_redirects(0).build();
            let request = self.authorized(request).header(ACCEPT_ENCODING, "identity");
            let response = request.call().map_err(|error| self.unreachable(error))?;
            let status = response.status();
            if status.is_redirection() {
                match self.on_the_hub(header(response.headers(), LOCATION.as_str())) {
                    Some(next) => url = next,
                    None => return described(&url, response.headers(), false),
                }
            } else if status.is_success() {
                return described(&url, response.headers(), true);
            } else {
                return Err(self.refusal(id, &file_at(id, commit, file), &url, &response));
            }
        }
        let message = format!("more than {MOST_REDIRECTIONS} redirections");
        Err(HubError::BadReply { url, message })
    }

    /// Opens a file from byte `from` on; the status may be 200 (all of it), 206 (from there on) or 416.
    pub(super) fn open(
        &self,
        id: &ModelId,
        commit: &str,
        file: &str,
        from: u64,
    ) -> Result<Response<Body>, HubError> {
        let url = self.url(id, commit, file);
        // A compressed body has neither the size nor the ranges of the file.
        let mut request = self.authorized(self.agent.get(&url)).header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| self.unreachable(error))?;
        match response.status().as_u16() {
            200 | 206 | 416 => Ok(response),
            _ => Err(self.refusal(id, &file_at(id, commit, file), &url, &response)),
        }
    }

    fn authorized<Any>(&self, request: RequestBuilder<Any>) -> RequestBuilder<Any> {
        match self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// The address a redirection leads to, if that is on the hub.
    fn on_the_hub(&self, location: Option<&str>) -> Option<String> {
        let location = location?;
        let path = match location.strip_prefix(&self.origin) {
            Some(path) => path,
            None if location.starts_with("//") => return None,
            None => location,
        };
        path.starts_with('/').then(|| format!("{}{path}", self.origin))
    }

    fn unreachable(&self, source: ureq::Error) -> HubError {
        HubError::Unreachable { endpoint: self.endpoint.to_owned(), source: Box::new(source) }
    }

    fn refusal(&self, id: &ModelId, what: &str, url: &str, response: &Response<Body>) -> HubError {
        let endpoint = self.endpoint.to_owned();
        let detail = detail(response.headers());
        match response.status().as_u16() {
            status @ (401 | 403) => {
                let advice = match self.token {
                    None => "set HF_TOKEN to an access token that may read it",
                    Some(_) => {
                        "the access token in use is invalid or may not read it: accept the model's \
                         terms on its page, or set HF_TOKEN to another one"
                    }
                };
                HubError::Refused { endpoint, model: id.to_string(), status, detail, advice }
            }
            404 => HubError::NotFound { endpoint, what: what.to_owned(), detail },
            status => HubError::Status { url: url.to_owned(), status, detail },
        }
    }
}

/// Scheme, host and port of an address, and whether that is this very machine.
pub(super) fn origin(endpoint: &str) -> Result<(String, bool), HubError> {
    let invalid = || HubError::InvalidEndpoint { endpoint: endpoint.to_owned() };
    let uri: Uri = endpoint.parse().map_err(|_| invalid())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) if uri.query().is_none() => {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            let address = host.parse::<IpAddr>();
            let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
            Ok((format!("{scheme}://{authority}"), local))
        }
        _ => Err(invalid()),
    }
}

fn file_at(id: &ModelId, commit: &str, file: &str) -> String {
    format!("file `{file}` in model `{}` at commit {commit}", id.repository())
}

fn header<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The hub's own words, to follow a status in a message.
fn detail(headers: &HeaderMap) -> String {
    match header(headers, "x-error-message") {
        Some(message) => format!(": {}", message.chars().take(200).collect::<String>()),
        None => String::new(),
    }
}

/// The etag and the size in the headers; `whole` if they come with the file, not with a redirection.
fn described(url: &str, headers: &HeaderMap, whole: bool) -> Result<Metadata, HubError> {
    let linked = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
    let bad = |message: String| HubError::BadReply { url: url.to_owned(), message };
    let Some(found) = linked else {
        let target = header(headers, LOCATION.as_str());
        let target = target.map(|target| format!(" (it redirects to {target})"));
        return Err(bad(format!("the answer has no etag{}", target.unwrap_or_default())));
    };
    let etag = etag(found).ok_or_else(|| bad(format!("the etag {found:?} is no hash")))?;
    let own = header(headers, "content-length").filter(|_| whole);
    let size = match header(headers, "x-linked-size").or(own) {
        None => None,
        Some(size) => {
            Some(size.parse().map_err(|_| bad(format!("the size {size:?} is no number")))?)
        }
    };
    Ok(Metadata { etag: etag.to_owned(), size })
}

/// An etag without its marks, if it can be a file name: it comes from the network.
fn etag(text: &str) -> Option<&str> {
    let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    ((1..=128).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_become_file_names_only() {
        assert_eq!(etag("\"0a9b\""), Some("0a9b"));
        assert_eq!(etag("W/\"0a9b-2\""), Some("0a9b-2"));
        for hostile in ["", "\"\"", "../x", "\"a/b\"", "a.b", "a b", "W/", "ä", &"a".repeat(129)] {
            assert_eq!(etag(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn redirections_on_the_hub() {
        let client = Client::new("http://hub:80/base", None).unwrap();
        let on_the_hub = |location| client.on_the_hub(Some(location));
        assert_eq!(on_the_hub("/x?y").as_deref(), Some("http://hub:80/x?y"));
        assert_eq!(on_the_hub("http://hub:80/x").as_deref(), Some("http://hub:80/x"));
        for elsewhere in
            ["//other/x", "http://other/x", "http://hub:801/x", "http://hub:80@o/x", "x", ""]
        {
            assert_eq!(on_the_hub(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(client.on_the_hub(None), None);
    }

    #[test]
    fn file_names_are_encoded() {
        let client = Client::new("http://hub/", None).unwrap();
        let id = ModelId::parse("a/b").unwrap();
        assert_eq!(
            client.url(&id, "c0", "d/e #+%.gguf"),
            "http://hub/a/b/resolve/c0/d/e%20%23%2B%25.gguf"
        );
    }

    #[test]
    fn a_token_is_one_word() {
        for token in ["a b", "a\n", "ä", "a\u{7f}"] {
            let error = Client::new("http://hub", Some(token)).err();
            assert!(matches!(error, Some(HubError::InvalidToken)), "{token:?}");
        }
    }
}
