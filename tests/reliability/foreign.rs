//! What lies beside bundles, and in them, and is none of theirs.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::{Server, bundle, command, eventually, http_get, metric};

/// A folder of bundles with one in it.
fn models() -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    bundle(scratch.path());
    let models = scratch.path().join("models");
    fs::create_dir(&models).unwrap();
    fs::rename(scratch.path().join("bundle"), models.join("good")).unwrap();
    (scratch, models)
}

/// The same model, as another version.
fn copy(from: &Path, to: &Path, version: u64) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file()
            && !entry.file_name().as_encoded_bytes().starts_with(b".")
        {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let manifest = to.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replacen(r#""version": 1"#, &format!(r#""version": {version}"#), 1);
    fs::write(manifest, text).unwrap();
}

fn link(target: &str, path: PathBuf) {
    symlink(target, path).unwrap();
}

/// Everything that people and their tools leave behind.
fn litter(folder: &Path) {
    for name in [
        ".manifest.json.swp",
        "manifest.json~",
        "#manifest.json#",
        "Thumbs.db",
        "new\nline",
    ] {
        fs::write(folder.join(name), "left").unwrap();
    }
    for name in [
        ".snapshot",
        "lost+found",
        "@eaDir",
        "__MACOSX",
        "deeper/deeper",
    ] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    link("user@host:1", folder.join(".#manifest.json"));
    link("/nowhere", folder.join("to-nothing"));
    link("loop", folder.join("loop"));
    link("..", folder.join("up"));
    let fifo = Command::new("mkfifo").arg(folder.join("fifo")).status();
    assert!(fifo.unwrap().success());
    UnixListener::bind(folder.join("socket")).unwrap();
}

fn served(server: &Server) -> Vec<u64> {
    let reply = http_get(server, "/models");
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    let listed: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(listed["refused"].as_array().unwrap().len(), 0, "{listed}");
    let models = listed["models"].as_array().unwrap().iter();
    models
        .map(|model| model["version"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn foreign_files_change_nothing_and_are_warned_of_once() {
    let (scratch, models) = models();
    let log = scratch.path().join("log");
    let mut command = command(&models);
    command.args(["--model-poll-s", "1", "--log-format", "json"]);
    command.stderr(fs::File::create(&log).unwrap());
    let server = Server::spawn(command, scratch.path());
    let loads = || metric(&server, "lfbm_model_load_seconds_count", "");
    litter(&models.join("good"));
    litter(&models);
    // Another poll has passed once another version is there; and one more.
    for version in [2, 3] {
        let draft = scratch.path().join("draft");
        copy(&models.join("good"), &draft, version);
        fs::rename(draft, models.join(format!("v{version}"))).unwrap();
        eventually("the version is served", || {
            served(&server).contains(&version)
        })
        .await;
    }
    assert_eq!(served(&server), [1, 2, 3]);
    // Nothing was loaded again, withdrawn, or refused.
    assert_eq!(loads(), 3.0);
    assert_eq!(metric(&server, "lfbm_models_refused", ""), 0.0);
    assert!(http_get(&server, "/healthz").starts_with("HTTP/1.1 200"));
    let log = fs::read_to_string(log).unwrap();
    assert!(!log.contains("withdrawn"), "{log}");
    for name in ["good/.#manifest.json", "good/to-nothing", "models/loop"] {
        let lines = log
            .lines()
            .filter(|line| line.contains(&format!("{name}\"")));
        let warned: Vec<_> = lines.filter(|line| line.contains("passed over")).collect();
        assert_eq!(warned.len(), 1, "{name}: {warned:?}");
        assert!(warned[0].contains("WARN"), "{warned:?}");
    }
}

#[tokio::test]
async fn a_start_finds_the_bundles_among_what_else_there_is() {
    let (scratch, models) = models();
    litter(&models.join("good"));
    litter(&models);
    let server = Server::start(&models, scratch.path(), &[]);
    assert_eq!(served(&server), [1]);
    drop(server);
    // By itself, too, and by a link.
    for place in [models.join("good"), models.join("up/models/good")] {
        let server = Server::start(&place, scratch.path(), &[]);
        assert_eq!(served(&server), [1]);
    }
}

#[tokio::test]
async fn a_bundle_that_cannot_be_seen_for_a_while_is_served_on() {
    let (scratch, models) = models();
    let server = Server::start(&models, scratch.path(), &["--model-poll-s", "1"]);
    let away = scratch.path().join("away");
    let good = models.join("good");
    fs::rename(&good, &away).unwrap();
    // Root may look everywhere, but not through a link that goes round in circles.
    link("good", good.clone());
    copy(&away, &models.join("v2"), 2);
    eventually("the second version is served", || served(&server) == [1, 2]).await;
    // A further look at the folder, which finds this one.
    copy(&away, &models.join("v3"), 3);
    eventually("the third version is served", || {
        served(&server).contains(&3)
    })
    .await;
    assert_eq!(served(&server), [1, 2, 3]);
    fs::remove_file(&good).unwrap();
    eventually("what is gone is withdrawn", || served(&server) == [2, 3]).await;
    fs::rename(&away, &good).unwrap();
    eventually("and comes back", || served(&server) == [1, 2, 3]).await;
}

#[tokio::test]
async fn a_volume_of_kubernetes_changes_by_its_link() {
    let (scratch, models) = models();
    let volume = scratch.path().join("volume");
    let (first, second) = (volume.join("..2026_01"), volume.join("..2026_02"));
    copy(&models.join("good"), &first.join("good"), 1);
    copy(&models.join("good"), &second.join("good"), 2);
    link("..2026_01", volume.join("..data"));
    link("..data/good", volume.join("good"));
    let server = Server::start(&volume, scratch.path(), &["--model-poll-s", "1"]);
    assert_eq!(served(&server), [1]);
    link("..2026_02", volume.join("..data_tmp"));
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    eventually("the second version is served", || served(&server) == [2]).await;
}

#[tokio::test]
async fn a_place_without_a_bundle_does_not_keep_another_from_being_served() {
    let (scratch, models) = models();
    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let nowhere = scratch.path().join("nowhere");
    let flags = [
        "--bundle",
        empty.to_str().unwrap(),
        "--bundle",
        nowhere.to_str().unwrap(),
    ];
    let flags = [&flags[..], &["--model-poll-s", "1"]].concat();
    let server = Server::start(&models, scratch.path(), &flags);
    assert_eq!(served(&server), [1]);
    // They are looked at again.
    copy(&models.join("good"), &empty.join("late"), 2);
    copy(&models.join("good"), &nowhere, 3);
    eventually("all are served", || served(&server) == [1, 2, 3]).await;
    drop(server);
    // With nothing to serve there is no start, and the place is named.
    let alone = scratch.path().join("alone");
    fs::create_dir(&alone).unwrap();
    for place in [alone, scratch.path().join("absent")] {
        let output = command(&place).stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let last = errors.lines().last().unwrap();
        assert!(last.contains(place.to_str().unwrap()), "{errors}");
        assert!(last.contains("expected a bundle"), "{errors}");
    }
}
