//! TLS, with a certificate of our own.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stablemate_server::{Options, Tls};

use crate::common::{Setup, served, start_with, wait_until, written};

#[test]
fn a_client_that_trusts_the_certificate_is_answered() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls {
        certificates: directory.path().join("certificate.pem"),
        key: directory.path().join("key.pem"),
    };
    std::fs::write(&tls.certificates, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let served = served(&Setup::default());
    let engine = served.engine.clone();
    let options = Options { tls: Some(tls), ..Setup::default().options };
    let server = start_with(options, engine, move || Ok(served));

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    wait_until("it is ready", || {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut stream = StreamOwned::new(connection, server.connect());
        stream.write_all(&written("GET", "/health", "", b"")).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 "), "{text}");
        text.contains("200 OK")
    });
}

#[test]
fn files_that_are_none_are_named() {
    let tls = Tls { certificates: "nowhere/certificate.pem".into(), key: "nowhere/key.pem".into() };
    let options = Options { tls: Some(tls), ..Setup::default().options };
    let load = || Err("not asked".to_owned());
    let result = stablemate_server::serve(options, Default::default(), Default::default(), load);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("nowhere/certificate.pem"), "{message}");
}
