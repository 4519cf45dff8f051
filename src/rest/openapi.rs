//! The description of the paths, OpenAPI 3.1.

/// JSON. `tests/rest/openapi.rs` compares it with a server.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");
