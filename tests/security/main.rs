//! Who may talk to the server, over what, and what a hostile or broken client can do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod compression;
mod endpoints;
mod forge;
mod hostile;
mod memory;
mod requests;
mod statuses;
mod tls;
mod tokens;

use std::time::{Duration, Instant};

use common::{Server, http_get};

const PATIENCE: Duration = Duration::from_secs(30);

async fn wait_for(server: &Server, metric: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !http_get(server, "/metrics").contains(metric) {
        assert!(Instant::now() < deadline, "{metric} never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
