//! Listens at an address of the settings.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use lfbm_settings::{Address, Host};
use tokio::net::{TcpListener, lookup_host};

/// Listens at the first address that can be had: of a name those of IPv4 come first, of all
/// interfaces both kinds of IP are one address where the system has IPv6.
///
/// # Errors
/// When a name is not known, or no address can be had.
pub async fn listen(address: &Address) -> anyhow::Result<TcpListener> {
    let failed = || format!("cannot listen on {address}");
    let addresses = resolve(address).await.with_context(failed)?;
    TcpListener::bind(&addresses[..]).await.with_context(failed)
}

async fn resolve(address: &Address) -> io::Result<Vec<SocketAddr>> {
    let at = |ip: IpAddr| SocketAddr::new(ip, address.port());
    match address.host() {
        Host::Ip(ip) => Ok(vec![at(*ip)]),
        Host::All => Ok(vec![
            at(Ipv6Addr::UNSPECIFIED.into()),
            at(Ipv4Addr::UNSPECIFIED.into()),
        ]),
        Host::Name(name) => {
            let found = lookup_host((name.as_str(), address.port())).await?;
            let mut found: Vec<_> = found.collect();
            found.sort_by_key(SocketAddr::is_ipv6);
            Ok(found)
        }
    }
}
