//! The variables by which `huggingface_hub` is configured.

use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, api::sync::ApiBuilder};

use super::error::HubError;
use super::{Hub, client};

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn hub(lookup: Lookup<'_>) -> Result<Hub, HubError> {
    let cache = match first_path(lookup, &["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]) {
        Some(cache) => cache,
        None => home(lookup).ok_or(HubError::NoCacheFolder)?.join("hub"),
    };
    let endpoint = match first(lookup, &["HF_ENDPOINT"]) {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None => public_endpoint(&cache)?,
    };
    client::origin(&endpoint)?;
    Ok(Hub {
        endpoint,
        cache,
        token: token(lookup)?,
        offline: is_true(lookup, &["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]),
    })
}

/// The first variable that is set and not empty.
fn first(lookup: Lookup<'_>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| lookup(name).filter(|value| !value.is_empty()))
}

/// As [`first`], with `~` for the home folder.
fn first_path(lookup: Lookup<'_>, names: &[&str]) -> Option<PathBuf> {
    let path = first(lookup, names)?;
    let below_home = match path.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    match (below_home, first(lookup, &["HOME"])) {
        (Some(rest), Some(home)) => Some(Path::new(&home).join(rest)),
        _ => Some(PathBuf::from(path)),
    }
}

fn is_true(lookup: Lookup<'_>, names: &[&str]) -> bool {
    let value = first(lookup, names).unwrap_or_default().to_ascii_lowercase();
    matches!(value.as_str(), "1" | "true" | "yes" | "on")
}

fn home(lookup: Lookup<'_>) -> Option<PathBuf> {
    first_path(lookup, &["HF_HOME"])
        .or_else(|| Some(first_path(lookup, &["XDG_CACHE_HOME"])?.join("huggingface")))
        .or_else(|| Some(Path::new(&first(lookup, &["HOME"])?).join(".cache/huggingface")))
}

fn token(lookup: Lookup<'_>) -> Result<Option<String>, HubError> {
    if is_true(lookup, &["HF_HUB_DISABLE_IMPLICIT_TOKEN"]) {
        return Ok(None);
    }
    if let Some(token) = first(lookup, &["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
        return Ok(cleaned(&token));
    }
    let path = first_path(lookup, &["HF_TOKEN_PATH"])
        .or_else(|| home(lookup).map(|home| home.join("token")));
    let Some(path) = path else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(token) => Ok(cleaned(&token)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HubError::Io { action: "read the token file", path, source }),
    }
}

fn cleaned(token: &str) -> Option<String> {
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// The public hub: what `hf-hub` uses when told nothing. It shows it in the address of a file only.
fn public_endpoint(cache: &Path) -> Result<String, HubError> {
    let api = ApiBuilder::from_cache(Cache::new(cache.to_path_buf())).with_token(None).build();
    let url = api.map(|api| api.model("model".to_owned()).url("")).unwrap_or_default();
    let (endpoint, _) = url.split_once("/model/").unwrap_or_default();
    client::origin(endpoint)?;
    Ok(endpoint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Hub, HubError> {
        hub(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn defaults() {
        let hub = from(&[("HOME", "/h"), ("HF_ENDPOINT", ""), ("HF_TOKEN", "")]).unwrap();
        assert_eq!(hub.cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!((hub.token, hub.offline), (None, false));
        assert!(hub.endpoint.starts_with("https://"), "{}", hub.endpoint);
        assert!(!hub.endpoint.ends_with('/'), "{}", hub.endpoint);
        assert!(matches!(from(&[]), Err(HubError::NoCacheFolder)));
    }

    #[test]
    fn the_nearest_cache_variable_wins() {
        let mut pairs = vec![("HOME", "/h")];
        let steps = [
            ("XDG_CACHE_HOME", "/x", "/x/huggingface/hub"),
            ("HF_HOME", "~/f", "/h/f/hub"),
            ("HUGGINGFACE_HUB_CACHE", "/old", "/old"),
            ("HF_HUB_CACHE", "/new", "/new"),
        ];
        for (name, value, expected) in steps {
            pairs.push((name, value));
            assert_eq!(from(&pairs).unwrap().cache, PathBuf::from(expected), "{name}");
        }
    }

    #[test]
    fn offline_by_the_words_for_true() {
        for (value, expected) in
            [("1", true), ("TRUE", true), ("yes", true), ("On", true), ("0", false), ("2", false)]
        {
            let hub = from(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap();
            assert_eq!(hub.offline, expected, "{value}");
        }
    }

    #[test]
    fn tokens_from_variable_then_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let other = folder.path().join("other");
        std::fs::write(folder.path().join("token"), "of-home\n").unwrap();
        std::fs::write(&other, " of-path ").unwrap();
        let mut pairs = vec![("HF_HOME", home)];
        let token = |pairs: &[(&str, &str)]| from(pairs).unwrap().token;
        assert_eq!(token(&pairs).as_deref(), Some("of-home"));
        pairs.push(("HF_TOKEN_PATH", other.to_str().unwrap()));
        assert_eq!(token(&pairs).as_deref(), Some("of-path"));
        pairs.push(("HF_TOKEN", "of-variable"));
        assert_eq!(token(&pairs).as_deref(), Some("of-variable"));
        assert!(!format!("{:?}", from(&pairs).unwrap()).contains("of-variable"));
        pairs.push(("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"));
        assert_eq!(token(&pairs), None);
        let unreadable = from(&[("HF_HOME", home), ("HF_TOKEN_PATH", home)]);
        assert!(matches!(unreadable, Err(HubError::Io { .. })), "{unreadable:?}");
    }

    #[test]
    fn an_endpoint_is_an_http_address() {
        let with = |endpoint| from(&[("HOME", "/h"), ("HF_ENDPOINT", endpoint)]);
        assert_eq!(with("http://localhost:8/p/").unwrap().endpoint, "http://localhost:8/p");
        for endpoint in ["localhost", "ftp://a", "http://", "http://a b"] {
            let error = with(endpoint).unwrap_err();
            assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
        }
    }
}
