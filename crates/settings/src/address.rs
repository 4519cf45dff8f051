//! Where a server listens, as people write it.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const EXPECTED: &str = "expected HOST:PORT, such as 127.0.0.1:50051, localhost:50051 or \
    [::1]:50051; :PORT for all interfaces; or PORT for 127.0.0.1";

/// `HOST:PORT`, `:PORT` for all interfaces, or `PORT` for 127.0.0.1. Names are resolved by whoever
/// listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    host: Host,
    port: u16,
}

/// The machine's side of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// One of its addresses.
    Ip(IpAddr),
    /// A name to resolve.
    Name(String),
    /// All interfaces.
    All,
}

impl Address {
    /// A port of 127.0.0.1.
    pub const fn local(port: u16) -> Self {
        Self {
            host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port,
        }
    }

    /// Where a client on the same machine finds who listens here, `HOST:PORT`.
    pub fn on_this_machine(&self) -> String {
        let host = match &self.host {
            Host::Ip(IpAddr::V6(ip)) if ip.is_unspecified() => Host::Ip(Ipv6Addr::LOCALHOST.into()),
            Host::Ip(ip) if !ip.is_unspecified() => Host::Ip(*ip),
            Host::Name(name) => Host::Name(name.clone()),
            Host::Ip(_) | Host::All => Host::Ip(Ipv4Addr::LOCALHOST.into()),
        };
        let port = self.port;
        Self { host, port }.to_string()
    }

    /// Where it is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port there; 0 is any that is free.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{EXPECTED}; got {text:?}");
        let (host, port) = match text.rsplit_once(':') {
            Some(("", port)) => (Host::All, port),
            Some((host, port)) => (host_of(host).ok_or_else(wrong)?, port),
            None => (Self::local(0).host, text),
        };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number);
        let port = port.ok_or_else(wrong)?;
        Ok(Self { host, port })
    }
}

fn host_of(text: &str) -> Option<Host> {
    let bracketed = text
        .strip_prefix('[')
        .map(|rest| rest.strip_suffix(']')?.parse().ok());
    if let Some(ip) = bracketed {
        return ip.map(|ip: Ipv6Addr| Host::Ip(ip.into()));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(Host::Ip(ip.into()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // A name of digits alone is an address that was cut off.
    let is_name = text.bytes().all(plain) && text.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_name.then(|| Host::Name(text.to_owned()))
}

impl Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(to, "{ip}:{port}"),
            Host::Ip(IpAddr::V6(ip)) => write!(to, "[{ip}]:{port}"),
            Host::Name(name) => write!(to, "{name}:{port}"),
            Host::All => write!(to, ":{port}"),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, written, local) in [
            ("127.0.0.1:50051", "127.0.0.1:50051", "127.0.0.1:50051"),
            ("0.0.0.0:1", "0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::]:1", "[::1]:1"),
            ("[::1]:65535", "[::1]:65535", "[::1]:65535"),
            ("[0:0::1]:7", "[::1]:7", "[::1]:7"),
            (":50051", ":50051", "127.0.0.1:50051"),
            ("50051", "127.0.0.1:50051", "127.0.0.1:50051"),
            ("0", "127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:80", "localhost:80", "localhost:80"),
            (
                "my-host.example.:80",
                "my-host.example.:80",
                "my-host.example.:80",
            ),
            ("10.0.0.7:80", "10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), written, "{text}");
            assert_eq!(address.on_this_machine(), local, "{text}");
            assert_eq!(written.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_is() {
        for text in [
            "",
            ":",
            "localhost",
            "localhost:",
            "localhost:grpc",
            "localhost:65536",
            "localhost:-1",
            "localhost:+1",
            "::1:50051",
            "::1",
            "[::1]",
            "[::1:50051",
            "[localhost]:50051",
            "http://localhost:50051",
            "256.0.0.1:50051",
            "1.2.3:50051",
            "a b:50051",
            "localhost:50051/",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains("expected HOST:PORT"), "{text}: {error}");
            assert!(error.ends_with(&format!("got {text:?}")), "{text}: {error}");
        }
    }
}
