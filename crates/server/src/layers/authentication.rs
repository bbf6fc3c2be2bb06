//! Who may come in, and when.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::ApiError;
use crate::state::AppState;

/// What everybody may ask.
const OPEN: [&str; 5] = ["/", "/docs", "/openapi.json", "/health", "/v1/health"];

/// What can be answered before the model is there.
const BEFORE_LOADING: [&str; 6] =
    ["/", "/docs", "/openapi.json", "/health", "/v1/health", "/metrics"];

/// Turns away who shows no key, and everybody while the model is being loaded.
pub(super) async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let keys = &state.options().api_keys;
    if !keys.is_empty() && !OPEN.contains(&path) && !shows_key(request.headers(), keys) {
        let message =
            "no valid API key: send it as \"Authorization: Bearer KEY\" or \"x-api-key: KEY\"";
        return ApiError::new(StatusCode::UNAUTHORIZED, message)
            .with_code("invalid_api_key")
            .into_response();
    }
    if !BEFORE_LOADING.contains(&path)
        && let Err(loading) = state.served()
    {
        return loading.into_response();
    }
    next.run(request).await
}

fn shows_key(headers: &HeaderMap, keys: &[String]) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key)
    });
    let own = headers.get("x-api-key").map(|value| value.as_bytes());
    [bearer, own].into_iter().flatten().any(|given| is_one_of(given, keys))
}

/// Compares digests, of which all are as long, in a time that does not depend on where they differ.
fn is_one_of(given: &[u8], keys: &[String]) -> bool {
    let given = Sha256::digest(given);
    let equal = |key: &String| given.as_slice().ct_eq(Sha256::digest(key.as_bytes()).as_slice());
    keys.iter().fold(Choice::from(0), |found, key| found | equal(key)).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn either_header_with_either_key() {
        let keys = ["one".to_owned(), "two".to_owned()];
        let shows = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            shows_key(
                &HeaderMap::from_iter([(header::HeaderName::from_static(name), value)]),
                &keys,
            )
        };
        assert!(shows("authorization", "Bearer one") && shows("authorization", "bearer two"));
        assert!(shows("x-api-key", "two"));
        for wrong in ["one", "Bearer", "Bearer ", "Bearer on", "Bearer one2", "Basic one"] {
            assert!(!shows("authorization", wrong), "{wrong}");
        }
        assert!(!shows("x-api-key", ""));
        assert!(!shows_key(&HeaderMap::new(), &keys));
    }
}
