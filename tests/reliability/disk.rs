//! Disks that are full. None of it needs root: `/dev/full` refuses every write, and a process
//! with a file size limit of zero can make no file grow.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Server, bundle, client, command, encoded, pixels, png};
use crate::exit_status;

/// The command may create files and not write to them.
fn on_a_full_disk(command: Command) -> Command {
    with_file_limit(command, 0)
}

/// The command may make no file longer than so many bytes.
fn with_file_limit(mut command: Command, bytes: u64) -> Command {
    // SAFETY: the call is async-signal-safe, and the closure does nothing else.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit {
                rlim_cur: bytes,
                rlim_max: bytes,
            };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    command
}

#[tokio::test]
async fn a_log_that_cannot_be_written_does_not_stop_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let mut command = command(bundle.dir());
    let full = File::options().write(true).open("/dev/full").unwrap();
    command.args(["--log", "debug"]).stderr(full);
    let mut server = Server::spawn(command, folder.path());
    let mut client = client(&server).await;
    client.score(encoded(Vec::new())).await.unwrap_err();
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    client.score(request).await.unwrap();
    drop(client);
    crate::terminate(&server.process);
    assert_eq!(exit_status(&mut server.process).code(), Some(0));
}

#[tokio::test]
async fn a_file_that_may_not_grow_does_not_stop_the_server() {
    const LIMIT_BYTES: u64 = 4096;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let (log, audit) = (folder.path().join("log"), folder.path().join("audit"));
    let mut command = with_file_limit(command(bundle.dir()), LIMIT_BYTES);
    command.args(["--log", "debug", "--audit-log"]).arg(&audit);
    command.stderr(File::create(&log).unwrap());
    let mut server = Server::spawn(command, folder.path());
    let mut client = client(&server).await;
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    let length = |file: &Path| std::fs::metadata(file).unwrap().len();
    // A line that does not fit is not written in part.
    let is_full = |file: &Path| length(file) > LIMIT_BYTES - 1024;
    while !(is_full(&log) && is_full(&audit)) {
        client.score(request.clone()).await.unwrap();
    }
    for _ in 0..20 {
        client.score(request.clone()).await.unwrap();
    }
    drop(client);
    crate::terminate(&server.process);
    assert_eq!(exit_status(&mut server.process).code(), Some(0));
}

#[tokio::test]
async fn loading_and_serving_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut command = on_a_full_disk(command(bundle.dir()));
    command.args(["--grpc-address", &address.to_string()]);
    let process = command.stderr(Stdio::null()).spawn().unwrap();
    let server = Server {
        process,
        url: format!("http://{address}"),
        http: String::new(),
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // A connection to a free port may be given that port for its own end, and so reach itself.
    let reaches_another = |stream: std::net::TcpStream| stream.local_addr().unwrap() != address;
    while !std::net::TcpStream::connect(address).is_ok_and(reaches_another) {
        assert!(std::time::Instant::now() < deadline, "it does not listen");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    client(&server).await.score(request).await.unwrap();
}

#[test]
fn a_ready_file_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let ready = folder.path().join("ready");
    let mut command = on_a_full_disk(command(bundle.dir()));
    command.arg("--ready-file").arg(&ready);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(ready.to_str().unwrap()), "{errors}");
    assert!(!ready.exists());
}
