//! A real server process for tests.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `lfbm-server`; killed on drop.
pub struct Server {
    /// The process.
    pub process: Child,
    /// Where gRPC listens.
    pub url: String,
    /// Where HTTP listens, HOST:PORT.
    #[allow(dead_code)] // Not every test looks at it.
    pub http: String,
}

impl Server {
    /// Starts a server on free ports, with `flags` besides, and waits until it listens.
    pub fn start(bundle: &Path, scratch: &Path, flags: &[&str]) -> Self {
        let ready = scratch.join("ready");
        let _ = fs::remove_file(&ready);
        let mut process = command(bundle)
            .args(flags)
            .arg("--ready-file")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(process.try_wait().unwrap().is_none(), "the server stopped");
            assert!(
                Instant::now() < deadline,
                "the server is not ready after a minute"
            );
            let text = fs::read_to_string(&ready).unwrap_or_default();
            let address = |name| text.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(grpc), Some(http)) = (address("grpc="), address("http=")) {
                return Self {
                    process,
                    url: format!("http://{grpc}"),
                    http: http.to_owned(),
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `lfbm-server --bundle BUNDLE` on free ports.
pub fn command(bundle: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lfbm-server"));
    let free = "127.0.0.1:0";
    command
        .args(["--grpc-address", free, "--http-address", free, "--bundle"])
        .arg(bundle);
    command
}
