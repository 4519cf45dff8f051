use std::time::Duration;

use clap::{ArgAction, Args};
use lfbm_settings::{DAY_S, Group, Range, YEAR_S};
use serde::{Deserialize, Serialize};

use super::ConnectionLimits;

/// What gRPC connections may do.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionSettings {
    /// Whether pages in browsers may call gRPC (gRPC-web, also over HTTP/1.1); pages of other origins need
    /// to be among cors_origins
    #[arg(
        long,
        env = "LFBM_GRPC_WEB",
        default_value_t = false,
        action = ArgAction::Set
    )]
    pub grpc_web: bool,
    /// Connections that may be open
    #[arg(
        long,
        env = "LFBM_MAX_CONNECTIONS",
        default_value_t = 16_384,
        hide_short_help = true
    )]
    pub max_connections: usize,
    /// How long a client may take from connecting to its first request, TLS included; after that its
    /// connection is closed
    #[arg(
        long,
        env = "LFBM_HANDSHAKE_TIMEOUT_S",
        default_value_t = 10,
        hide_short_help = true
    )]
    pub handshake_timeout_s: u64,
    /// Requests in flight on one connection at most
    #[arg(
        long,
        env = "LFBM_MAX_STREAMS",
        default_value_t = 1024,
        hide_short_help = true
    )]
    pub max_streams: u32,
    /// How long a connection may be silent before the server sends a keep-alive ping
    #[arg(
        long,
        env = "LFBM_KEEP_ALIVE_S",
        default_value_t = 30,
        hide_short_help = true
    )]
    pub keep_alive_s: u64,
    /// How long a connection may have no request in flight before its client is told to open another
    /// when it needs one (GOAWAY); 0 for no limit
    #[arg(
        long,
        env = "LFBM_MAX_CONNECTION_IDLE_S",
        default_value_t = 3600,
        hide_short_help = true
    )]
    pub max_connection_idle_s: u64,
    /// Age of a connection at which its client is told to open another (GOAWAY); requests in flight are
    /// finished; varied by a tenth, so that clients do not reconnect together; 0 for no limit
    #[arg(long, env = "LFBM_MAX_CONNECTION_AGE_S", default_value_t = 0)]
    pub max_connection_age_s: u64,
    /// How long requests in flight may take on a connection that has reached max_connection_age_s; 0 for no limit
    #[arg(
        long,
        env = "LFBM_MAX_CONNECTION_AGE_GRACE_S",
        default_value_t = 0,
        hide_short_help = true
    )]
    pub max_connection_age_grace_s: u64,
}

impl Group for ConnectionSettings {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::whole(
                "max_connections",
                self.max_connections as u64,
                1..=u32::MAX.into(),
            ),
            Range::whole("handshake_timeout_s", self.handshake_timeout_s, 1..=DAY_S),
            Range::whole("max_streams", self.max_streams.into(), 1..=u32::MAX.into()),
            Range::whole("keep_alive_s", self.keep_alive_s, 1..=DAY_S),
            Range::whole(
                "max_connection_idle_s",
                self.max_connection_idle_s,
                0..=YEAR_S,
            ),
            Range::whole(
                "max_connection_age_s",
                self.max_connection_age_s,
                0..=YEAR_S,
            ),
            Range::whole(
                "max_connection_age_grace_s",
                self.max_connection_age_grace_s,
                0..=YEAR_S,
            ),
        ]
    }
}

impl ConnectionSettings {
    /// How long each connection may take over what it does, and stay.
    pub fn limits(&self) -> ConnectionLimits {
        let unless_zero = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        ConnectionLimits {
            handshake: Duration::from_secs(self.handshake_timeout_s),
            keep_alive: Duration::from_secs(self.keep_alive_s),
            idle: unless_zero(self.max_connection_idle_s),
            age: unless_zero(self.max_connection_age_s),
            age_grace: unless_zero(self.max_connection_age_grace_s),
            streams: self.max_streams,
            http1: self.grpc_web,
        }
    }
}
