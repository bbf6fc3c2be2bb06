//! The server over real sockets, before a model whose answers can be known by hand.

mod chat;
mod common;
mod completions;
mod hostile;
mod http;
mod invalid;
mod kinds;
mod lifecycle;
mod messages;
mod other_endpoints;
mod responses;
mod strict;
mod tls;
