//! Who may change what is served.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::http::uri::Authority;

use super::{Sender, Tokens};

/// Why a request may not change what is served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmin {
    /// It carries no token.
    #[error("expected `authorization: Bearer TOKEN` with an admin token of this server")]
    NoToken,
    /// It carries another token.
    #[error("expected an admin token (--admin-tokens-file), got another one")]
    OtherToken,
    /// It was sent to a name that is not known to be the server's: a page may have made its own name one of
    /// this machine.
    #[error(
        "expected a request to an IP address of the server, to localhost, or to a name of --admin-hosts, \
         got one to another host"
    )]
    Host,
    /// A page of another origin sent it.
    #[error(
        "expected a request of the server's own pages, or of an origin that --cors-origins names, got one \
         of another origin"
    )]
    Origin,
}

/// Who may change what is served. Clones share it.
#[derive(Clone, Debug)]
pub struct Admin {
    tokens: Tokens,
    hosts: Arc<[String]>,
    origins: Arc<[String]>,
}

impl Admin {
    /// Whoever has one of the tokens. Requests must be sent to an IP address, to localhost or to one of
    /// `hosts`; of pages in browsers, those of the server and of `origins` may send them. The origin `*` is
    /// none.
    pub fn new(tokens: Tokens, hosts: &[String], origins: &[String]) -> Self {
        Self {
            tokens,
            hosts: hosts.into(),
            origins: origins.into(),
        }
    }

    /// The sender of a request, if it may change what is served.
    ///
    /// # Errors
    /// When it may not.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<Sender, NotAdmin> {
        let Some(label) = self.tokens.label(headers) else {
            return Err(match headers.contains_key(AUTHORIZATION) {
                true => NotAdmin::OtherToken,
                false => NotAdmin::NoToken,
            });
        };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.and_then(|host| host.parse::<Authority>().ok());
        // HTTP/2 has it in the request itself.
        let host = uri.authority().or(host.as_ref());
        let host = host.filter(|host| self.is_own(host.host()));
        let host = host.ok_or(NotAdmin::Host)?;
        match headers.get(ORIGIN).map(|origin| origin.to_str()) {
            None => {}
            Some(Ok(origin)) if self.is_allowed(origin, host.as_str()) => {}
            Some(_) => return Err(NotAdmin::Origin),
        }
        Ok(Sender { label: Some(label) })
    }

    /// Whether a name that a request was sent to is the server's own.
    fn is_own(&self, host: &str) -> bool {
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        ip.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }

    /// Whether pages of an origin may send requests to a host and port.
    fn is_allowed(&self, origin: &str, host: &str) -> bool {
        let same = origin.split_once("://");
        same.is_some_and(|(_, page)| page.eq_ignore_ascii_case(host))
            || self.origins.iter().any(|allowed| allowed == origin)
    }
}
