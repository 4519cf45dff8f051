use std::path::PathBuf;

use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::SettingsError;
use crate::range::Group;

/// Where the server listens and what it asks of its clients. The server listens by it, and the
/// client finds a server on the same machine by it.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Addresses and access")]
pub struct EndpointSettings {
    /// Where gRPC listens: HOST:PORT (of a name the first address, IPv4 before IPv6), :PORT for all
    /// interfaces, or PORT for 127.0.0.1
    #[arg(long, env = "LFBM_GRPC_ADDRESS", default_value_t = Address::local(50051))]
    pub grpc_address: Address,
    /// Where HTTP listens (REST, the console, /metrics, /healthz): HOST:PORT, :PORT or PORT, as in grpc_address
    #[arg(long, env = "LFBM_HTTP_ADDRESS", default_value_t = Address::local(9464))]
    pub http_address: Address,
    /// Origins, such as https://example.org, whose pages may use REST, and gRPC with grpc_web, in a
    /// browser (CORS), as a list with commas, or * for all [default: none]
    #[arg(long, env = "LFBM_CORS_ORIGINS", value_delimiter = ',')]
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// The server's certificate chain, PEM; with --tls-key, gRPC and REST are served over TLS only
    #[arg(long, env = "LFBM_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, env = "LFBM_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Authorities, PEM, of the certificates that clients must have
    #[arg(long, env = "LFBM_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,
    /// Bearer tokens, one a line, of which requests must carry one
    #[arg(long, env = "LFBM_AUTH_TOKENS_FILE")]
    pub auth_tokens_file: Option<PathBuf>,
    /// Bearer tokens, one a line, that load and unload models on request, and do nothing else; without the
    /// file nobody does
    #[arg(long, env = "LFBM_ADMIN_TOKENS_FILE")]
    pub admin_tokens_file: Option<PathBuf>,
    /// Names by which requests to load and unload may call the server, beside its IP addresses and
    /// localhost, as a list with commas [default: none]
    #[arg(
        long,
        env = "LFBM_ADMIN_HOSTS",
        value_delimiter = ',',
        hide_short_help = true
    )]
    #[serde(default)]
    pub admin_hosts: Vec<String>,
    /// Whether health and metrics need no token
    #[arg(long, env = "LFBM_AUTH_OPEN_HEALTH", default_value_t = true, action = ArgAction::Set)]
    pub auth_open_health: bool,
}

impl Group for EndpointSettings {}

/// Whether it is an origin as browsers name it, a scheme, a host and perhaps a port, or all of them.
fn is_origin(text: &str) -> bool {
    let host = ["https://", "http://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    text == "*" || host.is_some_and(|host| !host.is_empty() && host.chars().all(plain))
}

/// Whether it is the name of a host.
fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !text.is_empty() && text.chars().all(plain)
}

impl EndpointSettings {
    /// Whether the settings agree with each other.
    ///
    /// # Errors
    /// When gRPC and HTTP have the same address, an origin or a host is none, or a file or setting is there
    /// without another that it needs.
    pub fn check(&self) -> Result<(), SettingsError> {
        let pairs = [
            ("tls_cert", &self.tls_cert, "tls_key", &self.tls_key),
            ("tls_key", &self.tls_key, "tls_cert", &self.tls_cert),
            (
                "tls_client_ca",
                &self.tls_client_ca,
                "tls_cert",
                &self.tls_cert,
            ),
        ];
        if self.grpc_address == self.http_address && self.grpc_address.port() != 0 {
            return Err(SettingsError::Range {
                name: "http_address",
                value: self.http_address.to_string(),
                expected: "another address than that of grpc_address".to_owned(),
            });
        }
        for origin in &self.cors_origins {
            if !is_origin(origin) {
                return Err(SettingsError::Range {
                    name: "cors_origins",
                    value: origin.clone(),
                    expected: "origins like https://example.org, or *".to_owned(),
                });
            }
        }
        if !self.admin_hosts.is_empty() && self.admin_tokens_file.is_none() {
            return Err(SettingsError::Alone {
                name: "admin_hosts",
                other: "admin_tokens_file",
            });
        }
        for host in &self.admin_hosts {
            if !is_host(host) {
                return Err(SettingsError::Range {
                    name: "admin_hosts",
                    value: host.clone(),
                    expected: "names of hosts without a port, like scores.example.org".to_owned(),
                });
            }
        }
        for (name, value, other, needed) in pairs {
            if value.is_some() && needed.is_none() {
                return Err(SettingsError::Alone { name, other });
            }
        }
        Ok(())
    }
}
