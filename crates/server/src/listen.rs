//! Listening, loading, stopping.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{oneshot, watch};

use crate::api;
use crate::half_closed::HalfClosed;
use crate::layers;
use crate::options::{Callbacks, Options, Served, Tls};
use crate::state::AppState;

/// Threads that read requests and write answers; the work is done elsewhere.
const WORKERS: usize = 2;

/// How much longer than the requests a connection may take that nobody reads from.
const LINGER: Duration = Duration::from_secs(1);

/// Why a server ended that was not told to, or never began.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("cannot listen at {host}:{port}: {source}")]
    Listen {
        /// The host that was asked for.
        host: String,
        /// The port that was asked for.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// An origin is none.
    #[error(
        "the CORS origin {0:?} is no origin: it must be like \"https://example.org\", or \"*\""
    )]
    Origin(String),
    /// The model could not be loaded.
    #[error("{0}")]
    Load(String),
    /// The operating system failed us.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// How far a server has been told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Run,
    Drain,
    End,
}

/// Stops a server from elsewhere; clones stop the same one. Signals do the same.
#[derive(Clone, Debug, Default)]
pub struct Stopper {
    stage: watch::Sender<Stage>,
}

impl Stopper {
    /// The first time: accept nothing more and finish what is under way, within the deadline. The second time: end at once.
    pub fn stop(&self) {
        self.stage.send_modify(|stage| {
            *stage = if *stage == Stage::Run { Stage::Drain } else { Stage::End };
        });
    }

    async fn reached(&self, wanted: Stage) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.stage.subscribe().wait_for(|stage| *stage >= wanted).await;
    }
}

/// Serves until told to stop. Listens at once; `load` runs on a thread of its own, and until it returns, requests are
/// answered with 503.
///
/// # Errors
/// The address cannot be listened at, TLS cannot be set up, or `load` failed.
pub fn serve<L>(
    options: Options,
    callbacks: Callbacks,
    stopper: Stopper,
    load: L,
) -> Result<(), ServeError>
where
    L: FnOnce() -> Result<Served, String> + Send + 'static,
{
    for origin in &options.cors_origins {
        let (scheme, host) = origin.split_once("://").unwrap_or_default();
        let plain = !scheme.is_empty() && !host.is_empty() && !host.contains('/');
        if origin != "*" && !(plain && origin.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(ServeError::Origin(origin.clone()));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("server")
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(options, callbacks, stopper, load));
    // What is still being encoded or compiled is of no use to anybody.
    runtime.shutdown_background();
    result
}

async fn run<L>(
    options: Options,
    callbacks: Callbacks,
    stopper: Stopper,
    load: L,
) -> Result<(), ServeError>
where
    L: FnOnce() -> Result<Served, String> + Send + 'static,
{
    let listener = listen(&options)?;
    let address = listener.local_addr()?;
    let state = AppState::new(options);
    let handle = Handle::new();
    let mut connections = tokio::spawn(accept(listener, &state, handle.clone())?);
    if state.options().signals {
        watch_signals(stopper.clone())?;
    }
    call(callbacks.listening, |listening| listening(address));
    if state.options().api_keys.is_empty() && !layers::is_loopback(&state.options().host) {
        tracing::warn!(
            host = state.options().host,
            "everybody who reaches this address may ask: give an API key, or listen at 127.0.0.1"
        );
    }
    let (loaded, mut loading) = oneshot::channel();
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        // Nobody waits for it any more if the server was stopped meanwhile.
        drop(loaded.send(load()));
    })?;
    tokio::select! {
        loaded = &mut loading => {
            let served = loaded.unwrap_or_else(|_| Err("loading the model panicked".to_owned()));
            state.install(served.map_err(ServeError::Load)?);
            call(callbacks.ready, |ready| ready());
            let state = state.clone();
            // So that the first request that needs a grammar need not wait for them.
            tokio::task::spawn_blocking(move || {
                // Looks through the vocabulary.
                drop(state.check_bytes("prompt", 0));
                state.grammars().is_ok()
            });
        }
        () = stopper.reached(Stage::Drain) => return Ok(()),
    }
    tokio::select! {
        ended = &mut connections => return Ok(ended.map_err(io::Error::other)??),
        () = stopper.reached(Stage::Drain) => {}
    }
    call(callbacks.draining, |draining| draining());
    drain(&state, &handle, connections, &stopper).await
}

fn call<F>(callback: Option<F>, with: impl FnOnce(F)) {
    if let Some(callback) = callback {
        with(callback);
    }
}

/// Finishes what is under way: at the deadline the engine fails what is left, which ends its streams; a connection that
/// nobody reads from is cut a little later.
async fn drain(
    state: &AppState,
    handle: &Handle<SocketAddr>,
    connections: tokio::task::JoinHandle<io::Result<()>>,
    stopper: &Stopper,
) -> Result<(), ServeError> {
    state.begin_draining();
    let deadline = state.options().drain_deadline;
    handle.graceful_shutdown(Some(deadline.saturating_add(LINGER)));
    let engine = state.served().map(|served| served.engine.clone()).ok();
    let ending = engine.clone();
    let finished =
        tokio::task::spawn_blocking(move || ending.is_none_or(|engine| engine.shut_down(deadline)));
    tokio::select! {
        ended = connections => ended.map_err(io::Error::other)??,
        () = stopper.reached(Stage::End) => {
            handle.shutdown();
            if let Some(engine) = engine {
                engine.abort();
            }
            return Ok(());
        }
    }
    // Nobody is connected any more: what the engine still does is for nobody.
    if let Some(engine) = engine {
        engine.abort();
    }
    if !finished.await.unwrap_or(true) {
        tracing::warn!("not all requests finished before the deadline");
    }
    Ok(())
}

fn listen(options: &Options) -> Result<TcpListener, ServeError> {
    let (host, port) = (options.host.clone(), options.port);
    let listener = TcpListener::bind((host.as_str(), port))
        .map_err(|source| ServeError::Listen { host, port, source })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

type Connections = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Answers all connections. HTTP/1.1 alone: its limits of time cover every state of a connection.
fn accept(
    listener: TcpListener,
    state: &AppState,
    handle: Handle<SocketAddr>,
) -> Result<Connections, ServeError> {
    let service = Router::into_make_service(api::router(state));
    let timeout = state.options().header_timeout;
    macro_rules! connections {
        ($server:expr) => {{
            let mut server = $server.http1_only().handle(handle);
            let mut http = server.http_builder().http1();
            http.timer(TokioTimer::new()).header_read_timeout(timeout);
            Box::pin(server.serve(service))
        }};
    }
    Ok(match &state.options().tls {
        Some(tls) => {
            let config = RustlsConfig::from_config(Arc::new(tls_config(tls)?));
            connections!(axum_server::from_tcp_rustls(listener, config)?)
        }
        None => connections!(axum_server::from_tcp(listener)?.acceptor(HalfClosed)),
    })
}

fn tls_config(tls: &Tls) -> Result<ServerConfig, ServeError> {
    let wrong = |path: &std::path::Path, what: &dyn std::fmt::Display| {
        ServeError::Tls(format!("{}: {what}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&tls.certificates, &error))?;
    if chain.is_empty() {
        return Err(wrong(&tls.certificates, &"no certificate in PEM is in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| wrong(&tls.key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(unix)]
fn watch_signals(stopper: Stopper) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stopper.stop();
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn watch_signals(stopper: Stopper) -> io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            stopper.stop();
        }
    });
    Ok(())
}
