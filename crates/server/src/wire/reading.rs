//! What becomes of fields while a request is read, and who is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::de::Error as _;
use serde_json::{Error, Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use crate::layers::Record;
use crate::wire::table::{self, Kind};

/// What an unknown field begins an error with.
pub(super) const UNKNOWN: &str = "unknown field `";
/// What a refused field begins an error with.
pub(super) const REFUSED: &str = "refused field `";

/// Unknown fields whose names are remembered, so that the log names each once.
const MOST_REMEMBERED: usize = 256;

/// The fields without effect that requests had: counted, and each logged once. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignored {
    counts: Family<Labels, Counter>,
    logged: Arc<Mutex<BTreeSet<String>>>,
}

/// Where a field without effect stood. Both are words of the table, never a client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Labels {
    object: &'static str,
    field: &'static str,
}

impl Ignored {
    /// The counter, to be registered.
    pub(crate) fn counts(&self) -> Family<Labels, Counter> {
        self.counts.clone()
    }

    fn count(&self, object: &'static str, field: &'static str) {
        self.counts.get_or_create(&Labels { object, field }).inc();
    }

    /// Whether this is the first time that it is to be logged.
    fn is_new(&self, place: String) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < MOST_REMEMBERED && logged.insert(place)
    }
}

/// How one request is read. Clones note for the same request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    lenient: bool,
    ignored: Ignored,
    record: Record,
    /// The room of a long body, which is given back when the last clone is dropped.
    #[allow(dead_code, reason = "held")]
    room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Reading {
    /// With `lenient`, unknown fields are without effect.
    pub(crate) fn new(lenient: bool, ignored: Ignored, record: Record) -> Self {
        Self { lenient, ignored, record, room: None }
    }

    /// The same, with the room of the body.
    pub(super) fn holding(self, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { room: room.map(Arc::new), ..self }
    }

    /// Notes something of a kind (`scope` and `name`, words of ours) that has no effect.
    pub(crate) fn ignore(&self, scope: &'static str, name: &'static str, reason: &str) {
        self.ignored.count(scope, name);
        self.record.warn(&format!("{scope}.{name}: {reason}"));
        if self.ignored.is_new(format!("{scope}.{name}")) {
            tracing::info!(object = scope, field = name, reason, "a field has no effect here");
        }
    }

    fn ignore_unknown(&self, scope: &'static str, name: &str) {
        self.ignored.count(scope, "unknown");
        self.record.warn(&format!("{scope}: an unknown field has no effect"));
        let name: String = name.chars().take(64).collect();
        if self.ignored.is_new(format!("{scope}.{name}")) {
            let reason = "it is unknown, and the server is lenient";
            tracing::info!(object = scope, field = ?name, reason, "a field has no effect here");
        }
    }

    /// Tells the client something about its request that is no error.
    pub(crate) fn warn(&self, message: &str) {
        self.record.warn(message);
    }

    /// The fields of an object that are honoured: those of its struct `scope`. Null is absence.
    ///
    /// # Errors
    /// The first field that is unknown or refused.
    pub(super) fn sift(
        &self,
        scope: &'static str,
        honoured: &[&str],
        object: Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        let mut kept = Map::new();
        for (name, value) in object {
            if honoured.contains(&name.as_str()) {
                if !value.is_null() {
                    kept.insert(name, value);
                }
                continue;
            }
            match table::find(scope, &name) {
                Some(_) if value.is_null() => {}
                Some(field) => match field.kind {
                    Kind::WithoutEffect => self.ignore(scope, field.name, field.reason),
                    Kind::Refused(_) if field.is_neutral(&value) => {}
                    Kind::Refused(_) => {
                        let message = format!("{REFUSED}{name}`: {}", field.reason);
                        return Err(Error::custom(message));
                    }
                },
                None if self.lenient => self.ignore_unknown(scope, &name),
                None => return Err(Error::custom(format!("{UNKNOWN}{name}`"))),
            }
        }
        Ok(kept)
    }
}
