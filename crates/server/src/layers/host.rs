//! Which names a server answers to. A page from elsewhere can make a browser ask a server on the same machine under a
//! name of its own (DNS rebinding): without a key, such a server answers to names of loopback only.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Version, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::options::Options;
use crate::state::AppState;

/// Refuses requests that name no host, or one that they may not name.
pub(super) async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match check(state.options(), &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(options: &Options, request: &Request) -> Result<(), ApiError> {
    let mut given = request.headers().get_all(header::HOST).iter();
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(ApiError::invalid("the header Host is there more than once"));
    }
    let Some(first) = first else {
        if request.version() >= Version::HTTP_11 {
            return Err(ApiError::invalid("the header Host is missing, which HTTP/1.1 asks for"));
        }
        return Ok(());
    };
    let written = first.to_str().ok().filter(|host| !host.contains('@'));
    let named = written.and_then(|host| host.parse::<Authority>().ok());
    let named = request.uri().authority().cloned().or(named);
    let Some(named) = named else {
        return Err(ApiError::invalid("the header Host is no name of a host"));
    };
    if is_allowed(options, named.host()) {
        return Ok(());
    }
    let message = format!(
        "the header Host is {0:?}: without a key, this server answers to names of this machine only \
         (start it with --allowed-host {0}, or with a key)",
        named.host()
    );
    Err(ApiError::new(StatusCode::FORBIDDEN, message).with_code("host_not_allowed"))
}

/// Whether a name may be given. Only servers without a key that listen at loopback look.
fn is_allowed(options: &Options, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let same = |name: &String| name.eq_ignore_ascii_case(&host);
    !options.api_keys.is_empty()
        || !is_loopback(&options.host)
        || is_loopback(&host)
        || same(&options.host)
        || options.hosts.iter().any(same)
}

/// Whether a name or an address is one of this machine alone.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_without_a_key() {
        let mut options = Options { hosts: vec!["box.example".to_owned()], ..Options::default() };
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.8.0.1",
            "[::1]",
            "a.localhost",
            "box.example",
        ] {
            assert!(is_allowed(&options, host), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", ""]
        {
            assert!(!is_allowed(&options, host), "{host}");
        }
        options.api_keys.push("key".to_owned());
        assert!(is_allowed(&options, "evil.example"));
        options.api_keys.clear();
        options.host = "0.0.0.0".to_owned();
        assert!(is_allowed(&options, "evil.example"));
    }
}
