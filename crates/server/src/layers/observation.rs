//! Request ids, one line per request in the log, and the count of requests.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::error::ApiError;
use crate::layers::Record;
use crate::state::AppState;

const REQUEST_ID: &str = "x-request-id";
/// What a client is told of its request that is no error: fields without effect, tools followed loosely.
const WARNING: &str = "x-stablemate-warning";
const LONGEST_ID: usize = 128;

/// The id of a request, for the layers inside of this one.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) HeaderValue);

/// The status of a request whose client went away before there was an answer, as nginx has it.
const CLIENT_CLOSED: u16 = 499;

/// Gives a request its id and its record, and writes its line once the answer is sent or nobody wants it any more.
pub(super) async fn observe(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(&request);
    let record = Record::default();
    request.extensions_mut().insert(record.clone());
    request.extensions_mut().insert(RequestId(id.clone()));
    let matched = request.extensions().get::<MatchedPath>();
    let mut line = Line {
        state,
        record,
        id: id.to_str().unwrap_or_default().to_owned(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        route: matched.map_or("other".to_owned(), |matched| matched.as_str().to_owned()),
        started: Instant::now(),
        status: None,
        error: None,
        complete: false,
    };
    let mut response = next.run(request).await;
    line.status = Some(response.status());
    let error = response.extensions().get::<ApiError>();
    line.error = error.map(|error| error.detail().message.clone());
    response.headers_mut().insert(REQUEST_ID, id);
    for warning in line.record.warnings() {
        if let Ok(warning) = HeaderValue::try_from(warning) {
            response.headers_mut().append(WARNING, warning);
        }
    }
    response.map(|body| Body::new(Observed { body, line }))
}

/// The client's own id if it can be written into a log, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let usable = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    given.filter(usable).cloned().unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().simple().to_string();
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    })
}

/// A method as the label of a metric: clients may invent others, one after another.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [Method; 6] =
        [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];
    match KNOWN.iter().position(|known| known == method) {
        Some(index) => ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"][index],
        None => "other",
    }
}

/// Writes a request's line when it is dropped.
struct Line {
    state: AppState,
    record: Record,
    id: String,
    method: Method,
    path: String,
    route: String,
    started: Instant,
    status: Option<StatusCode>,
    error: Option<String>,
    complete: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        let status = self.status.map_or(CLIENT_CLOSED, |status| status.as_u16());
        self.state.metrics().answered(method_label(&self.method), &self.route, status);
        let milliseconds = self.started.elapsed().as_millis();
        let (prompt_tokens, cached_tokens, completion_tokens) = self.record.tokens();
        let outcome = if self.complete { "complete" } else { "cancelled" };
        let (method, path, request_id) =
            (self.method.as_str(), self.path.as_str(), self.id.as_str());
        // As it was written, with line breaks escaped.
        let error = self.error.as_ref().map(tracing::field::debug);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method,
                    path,
                    status,
                    milliseconds,
                    prompt_tokens,
                    cached_tokens,
                    completion_tokens,
                    outcome,
                    error,
                    request_id,
                    "request"
                )
            };
        }
        match self.path.as_str() {
            "/health" | "/v1/health" | "/metrics" => line!(debug),
            _ => line!(info),
        }
    }
}

/// A body that knows whether all of it was sent.
struct Observed {
    body: Body,
    line: Line,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.line.complete = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.line.complete |= self.body.is_end_stream();
    }
}
