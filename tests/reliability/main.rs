//! What the server survives, on the real process: kills, full disks, broken files, rude clients.
//! `docs/reliability.md` says what was found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod connections;
mod crash;
mod disk;
mod drain;
mod foreign;
mod http2;
mod loading;
mod silent;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Sends SIGTERM, as an orchestrator does.
fn terminate(process: &Child) {
    let status = Command::new("kill").arg(process.id().to_string()).status();
    assert!(status.unwrap().success());
}

/// How the process ends, within a minute.
fn exit_status(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            assert_eq!(status.signal(), None, "{status}");
            return status;
        }
        assert!(Instant::now() < deadline, "the server does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
}
