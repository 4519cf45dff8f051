//! Who may use the server.

use hyper::HeaderMap;

use super::OPEN_INFERENCE;
use crate::transport::{Sender, Tokens};

const HEALTH: &str = "/grpc.health.v1.Health/";

/// Tokens that open the server, and what is open without one.
pub(super) struct Access {
    /// Without tokens everything is open.
    pub(super) tokens: Option<Tokens>,
    /// Whether health checks need no token.
    pub(super) open_health: bool,
}

impl Access {
    /// Who sends a request, if it carries a token or the server asks for none.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Option<Sender> {
        Sender::of(self.tokens.as_ref(), headers)
    }

    /// Whether anybody may send requests to that path.
    pub(super) fn is_open(&self, path: &str) -> bool {
        self.open_health && is_probe(path)
    }
}

/// Whether it is a health check, of either protocol.
fn is_probe(path: &str) -> bool {
    let open_inference = path.strip_prefix(OPEN_INFERENCE);
    path.starts_with(HEALTH)
        || open_inference
            .is_some_and(|method| matches!(method, "ServerLive" | "ServerReady" | "ModelReady"))
}
