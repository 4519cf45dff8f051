//! Versions that score beside the one that answers, of a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod compare;
mod limits;
mod presence;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{Server, command, encoded, metric, png};
use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::{random_bundle, random_images};
use lfbm_wire::ScoreRequest;
use tempfile::TempDir;

const MODEL: &str = "random-mlp";

/// A folder of bundles of one model, by their versions.
struct Place {
    scratch: TempDir,
    models: PathBuf,
}

impl Place {
    fn with(versions: &[u64]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let models = scratch.path().join("models");
        fs::create_dir(&models).unwrap();
        let place = Self { scratch, models };
        for version in versions {
            place.publish(*version, GeneratorName::Mlp, &[]);
        }
        place
    }

    fn path(&self, version: u64) -> PathBuf {
        self.models.join(version.to_string())
    }

    /// Adds a version with weights of its own; `changes` are made in its manifest.
    fn publish(&self, version: u64, generator: GeneratorName, changes: &[(&str, &str)]) {
        let draft = self.scratch.path().join("draft");
        let runtime = Runtime::load(None).unwrap();
        random_bundle(&draft, &runtime, generator, 8, 4, version).unwrap();
        let file = draft.join("manifest.json");
        let mut text = fs::read_to_string(&file).unwrap();
        let name = format!(r#""name": "random-{generator}""#);
        let same_name = format!(r#""name": "{MODEL}""#);
        let own_version = format!(r#""version": {version}"#);
        let changes = [(&*name, &*same_name), (r#""version": 1"#, &own_version)]
            .into_iter()
            .chain(changes.iter().copied());
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in {text}");
            text = text.replacen(from, to, 1);
        }
        fs::write(&file, text).unwrap();
        fs::rename(draft, self.path(version)).unwrap();
    }

    fn serve(&self, flags: &[&str]) -> Server {
        let flags = [&["--model-poll-s", "0"], flags].concat();
        Server::start(&self.models, self.scratch.path(), &flags)
    }

    /// The same, with a log in JSON.
    fn serve_with_log(&self, flags: &[&str]) -> (Server, PathBuf) {
        let log = self.scratch.path().join("log");
        let mut command = command(&self.models);
        command.args(["--log-format", "json"]).args(flags);
        command.stderr(fs::File::create(&log).unwrap());
        (Server::spawn(command, self.scratch.path()), log)
    }
}

/// Has the server look for bundles.
fn look(server: &Server) {
    let id = server.process.id().to_string();
    let sent = Command::new("kill").args(["-HUP", &id]).status();
    assert!(sent.unwrap().success());
}

/// Requests to score images like those of the calibration, at a false-alarm rate at which versions disagree.
fn requests(count: usize) -> Vec<ScoreRequest> {
    let spec = lfbm_bundle::manifest::ImageSpec {
        channels: 1,
        height: 28,
        width: 28,
        value_range: [-1.0, 1.0],
        contrast: lfbm_bundle::manifest::Contrast::None,
        intake: lfbm_bundle::manifest::Intake::STRETCH,
    };
    let images = random_images(&spec, count, 1000);
    let images = images.chunks(spec.pixels()).map(|image| ScoreRequest {
        false_alarm_rate: Some(0.5),
        ..encoded(png(image.iter().map(|v| (v * 255.0) as u8).collect()))
    });
    images.collect()
}

/// How many images picked for the shadow versions ended so.
fn images(server: &Server, result: &str) -> f64 {
    let label = format!(r#"result="{result}""#);
    metric(server, "lfbm_shadow_images_total", &label)
}
