//! What lies under gRPC: connections, TLS, and files that are read again when they change.

mod admin;
mod connection;
mod http;
mod listen;
mod reload;
mod requests;
mod settings;
mod tls;
mod tokens;

pub use admin::{Admin, NotAdmin};
pub use connection::{Connections, raise_file_limit};
pub(crate) use connection::{ReadWrite, accept};
pub use http::ConnectionLimits;
pub use listen::Bound;
pub use reload::{Reloaded, reload};
pub use settings::ConnectionSettings;
pub use tls::{Tls, TlsFiles, server_config};
pub use tokens::{Sender, Tokens};
