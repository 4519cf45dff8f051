//! Who may send which requests, whatever the protocol.

use hyper::{HeaderMap, Uri};

use super::{ControlError, ServiceError};
use crate::transport::{Admin, Sender, Tokens};

/// Tokens that open the server, and what is open without one.
#[derive(Clone, Debug)]
pub struct Access {
    /// Without tokens everything is open but what needs an admin.
    pub tokens: Option<Tokens>,
    /// Who may load and unload models, if anybody.
    pub admin: Option<Admin>,
    /// Whether health checks need no token.
    pub open_health: bool,
}

/// Requests by what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A health check, or what tells no more.
    Nothing,
    /// A token, if the server has any.
    Token,
    /// An admin token: it changes what is served.
    Admin,
}

impl Access {
    /// Who sends a request, if it may be sent; `None` for anybody.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn admit(
        &self,
        need: Need,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<Sender>, ServiceError> {
        // Without admins the request is refused where it would be done.
        if let Some(admin) = &self.admin
            && need == Need::Admin
        {
            let sender = admin.admit(uri, headers);
            return Ok(Some(sender.map_err(ControlError::from)?));
        }
        match Sender::of(self.tokens.as_ref(), headers) {
            None if self.open_health && need == Need::Nothing => Ok(None),
            None => Err(ServiceError::Unauthenticated),
            sender => Ok(sender),
        }
    }
}
