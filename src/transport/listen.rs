//! Takes an address of the settings, and listens at it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use lfbm_settings::{Address, Host};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 1024;

/// An address that is taken, and not listened at yet: clients cannot connect.
pub struct Bound {
    socket: TcpSocket,
    address: Address,
    setting: &'static str,
}

impl Bound {
    /// Takes the first address that can be had: of a name those of IPv4 come first, of all interfaces both
    /// kinds of IP are one address where the system has IPv6. `setting` is where it comes from.
    ///
    /// # Errors
    /// When a name is not known, or no address can be had.
    pub async fn to(address: &Address, setting: &'static str) -> anyhow::Result<Self> {
        let failed = || format!("{setting}: cannot listen on {address}");
        let addresses = resolve(address).await.with_context(failed)?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for found in addresses {
            match bind(found) {
                Ok(socket) => {
                    let address = address.clone();
                    return Ok(Self {
                        socket,
                        address,
                        setting,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last).with_context(failed)
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// When another program listens there by now.
    pub fn listen(self) -> anyhow::Result<TcpListener> {
        let failed = || format!("{}: cannot listen on {}", self.setting, self.address);
        self.socket.listen(BACKLOG).with_context(failed)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that starts again does not wait for connections of the one before it to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
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
