//! The server of this machine, as its own settings describe it: the environment, and the file that
//! LFBM_CONFIG names. A health check in a container needs no others.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, FromArgMatches, Parser};
use lfbm_settings::{EndpointSettings, Sources, environment};

use crate::connection::{ConnectionArgs, Connector};
use crate::pinned::Pinned;

/// The server's settings that the client reads.
#[derive(Parser)]
#[command(name = "lfbm-server")]
struct ServerSettings {
    #[command(flatten)]
    file: FileSettings,
    #[command(flatten)]
    _endpoint: EndpointSettings,
}

#[derive(Args)]
struct FileSettings {
    #[arg(long, env = "LFBM_CONFIG")]
    config: Option<PathBuf>,
}

fn endpoint() -> anyhow::Result<EndpointSettings> {
    let matches = environment::<ServerSettings>()?;
    let file = ServerSettings::from_arg_matches(&matches)?.file;
    Ok(Sources::new(&matches, file.config.as_deref())?.read()?)
}

/// A connector to that server. Arguments go before its settings.
///
/// # Errors
/// When settings or files cannot be read.
pub(crate) fn connector(args: &ConnectionArgs) -> anyhow::Result<Connector> {
    let settings = endpoint().context("the server's settings")?;
    let address = settings.grpc_address.on_this_machine();
    let mut args = args.clone();
    if settings.tls_client_ca.is_some() && args.tls_cert.is_none() {
        // The server's own certificate, as there is no other.
        args.tls_cert.clone_from(&settings.tls_cert);
        args.tls_key.clone_from(&settings.tls_key);
    }
    let identity = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let names_trust = args.tls_ca.is_some() || args.tls_server_name.is_some();
    let pinned = match &settings.tls_cert {
        Some(certificate) if !names_trust => {
            Some(Pinned::new(address.clone(), certificate, identity)?)
        }
        _ => None,
    };
    let scheme = match (&settings.tls_cert, &pinned) {
        (Some(_), None) => "https",
        _ => "http",
    };
    args.server = Some(format!("{scheme}://{address}"));
    if pinned.is_some() {
        (args.tls_cert, args.tls_key) = (None, None);
    }
    let token = match &settings.auth_tokens_file {
        Some(file) if args.token_file.is_none() && !settings.auth_open_health => {
            Some(first_token(file)?)
        }
        _ => None,
    };
    Connector::pinned(&args, pinned, token.as_deref())
}

/// Any of the tokens that the server takes.
fn first_token(file: &Path) -> anyhow::Result<String> {
    let named = || file.display().to_string();
    let text = fs::read_to_string(file).with_context(named)?;
    let mut lines = text.lines().map(str::trim);
    let token = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(token.with_context(named)?.to_owned())
}
