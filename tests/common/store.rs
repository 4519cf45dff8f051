//! A store that speaks S3, on loopback: moto, from the Python packages of `scripts/requirements.txt`.

#![allow(dead_code)] // Not every test uses everything.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;

/// What signs requests, and must not be seen anywhere.
pub const SECRET: &str = "a-secret-key-that-nobody-sees";
/// What goes with requests, and must not be seen anywhere.
pub const SESSION: &str = "a-session-token-that-nobody-sees";

/// moto lets nobody replace an object who does not sign, and looks at no signature.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=none";

/// A store with one bucket, `bucket`, in memory.
pub struct Store {
    process: Child,
    address: String,
    agent: Agent,
}

impl Store {
    /// Starts the store, and waits until it has its bucket.
    pub fn start() -> Self {
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("third_party/python");
        assert!(
            packages.join("moto").is_dir(),
            "the Python packages are missing: run `make python`"
        );
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("python3")
            .args(["-m", "moto.server", "--host", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .env("PYTHONPATH", packages)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut store = Self {
            process,
            address: address.to_string(),
            agent: Agent::config_builder().build().into(),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        // Whether it accepts a connection would not tell: before it listens, a connection to a free port of
        // this machine may be given that port for its own end, and so reach itself.
        while let Err(error) = store.try_put("", &[]) {
            let ended = store.process.try_wait().unwrap();
            assert!(ended.is_none(), "the store ended: {ended:?}");
            assert!(Instant::now() < deadline, "no bucket: {error}");
            thread::sleep(Duration::from_millis(50));
        }
        store
    }

    /// The environment by which a program finds the store.
    pub fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("AWS_ACCESS_KEY_ID", "somebody".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_SESSION_TOKEN", SESSION.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Where the store listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn url(&self, key: &str) -> String {
        format!("http://{}/bucket/{key}", self.address)
    }

    /// Writes an object.
    pub fn put(&self, key: &str, content: &[u8]) {
        self.try_put(key, content).unwrap();
    }

    fn try_put(&self, key: &str, content: &[u8]) -> Result<(), ureq::Error> {
        let put = self
            .agent
            .put(self.url(key))
            .header("Authorization", SIGNED);
        // Of another type, moto might take it for a form.
        let put = put.header("Content-Type", "application/octet-stream");
        put.send(content).map(drop)
    }

    /// Removes an object.
    pub fn delete(&self, key: &str) {
        let delete = self.agent.delete(self.url(key));
        delete.header("Authorization", SIGNED).call().unwrap();
    }

    /// Writes the files of a folder below a prefix, as tools do that go by the alphabet.
    pub fn upload(&self, folder: &Path, prefix: &str) {
        for name in names(folder) {
            let content = fs::read(folder.join(&name)).unwrap();
            self.put(&format!("{prefix}/{name}"), &content);
        }
    }

    /// Removes what [`Self::upload`] wrote.
    pub fn remove(&self, folder: &Path, prefix: &str) {
        for name in names(folder) {
            self.delete(&format!("{prefix}/{name}"));
        }
    }

    /// Ends the store; nobody listens at its address then.
    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let files = entries
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file());
    let mut names: Vec<_> = files
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
