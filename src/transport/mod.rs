//! What lies under gRPC: connections, TLS, and files that are read again when they change.

mod connection;
mod reload;
mod tls;
mod tokens;

pub use connection::{Connection, Connections, raise_file_limit};
pub use reload::{Reloaded, reload};
pub use tls::{TlsFiles, server_config};
pub use tokens::Tokens;
