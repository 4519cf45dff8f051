//! Models that come, change, break and go while the server runs; and where they run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{Server, client, encoded, eventually, http_get, metric, png};
use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::random_bundle;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{GetModelRequest, InferenceParameters, ScoreRequest, ScoreResponse};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const MODEL: &str = "random-mlp";

/// A folder of bundles with one bundle in it, and room to make others.
struct Place {
    scratch: TempDir,
    models: PathBuf,
}

impl Place {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let models = scratch.path().join("models");
        fs::create_dir(&models).unwrap();
        let place = Self { scratch, models };
        place.publish("first", 1, 1);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.models.join(name)
    }

    /// A bundle outside the folder of models, with weights drawn from `seed`.
    fn draft(&self, version: u64, seed: u64) -> PathBuf {
        let draft = self.scratch.path().join("draft");
        let runtime = Runtime::load(None).unwrap();
        random_bundle(&draft, &runtime, GeneratorName::Mlp, 8, 4, seed).unwrap();
        let file = draft.join("manifest.json");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replacen(r#""version": 1"#, &format!(r#""version": {version}"#), 1);
        fs::write(&file, text).unwrap();
        draft
    }

    fn publish(&self, name: &str, version: u64, seed: u64) {
        fs::rename(self.draft(version, seed), self.path(name)).unwrap();
    }

    /// A server that looks for bundles at SIGHUP only, or every `poll_s` seconds.
    fn serve(&self, poll_s: &str) -> Server {
        let flags = ["--model-poll-s", poll_s, "--max-steps", "100000000"];
        Server::start(&self.models, self.scratch.path(), &flags)
    }
}

fn look(server: &Server) {
    let sent = Command::new("kill")
        .args(["-HUP", &server.process.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn request(steps: Option<u32>) -> ScoreRequest {
    let bytes = (0..28 * 28).map(|pixel| (pixel * 31 % 256) as u8);
    ScoreRequest {
        inference: Some(InferenceParameters {
            steps,
            ..Default::default()
        }),
        ..encoded(png(bytes.collect()))
    }
}

async fn score(client: &AnomalyDetectorClient<Channel>, version: u64) -> ScoreResponse {
    let mut request = request(None);
    request.version = version;
    client.clone().score(request).await.unwrap().into_inner()
}

/// The version that answers for `version`; 0 is the latest.
async fn version(client: &AnomalyDetectorClient<Channel>, version: u64) -> Result<u64, Status> {
    let request = GetModelRequest {
        version,
        ..Default::default()
    };
    let reply = client.clone().get_model(request).await?.into_inner();
    Ok(reply.model.unwrap().id.unwrap().version)
}

/// Watches what `grpc.health.v1` says of a service until it is `expected`.
async fn health(server: &Server, service: &str, expected: ServingStatus) {
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut statuses = client.watch(request).await.unwrap().into_inner();
    let reported = async {
        while let Some(reply) = statuses.message().await.unwrap() {
            if reply.status() == expected {
                return;
            }
        }
        panic!("the watch ended");
    };
    let reported = tokio::time::timeout(Duration::from_secs(60), reported).await;
    reported.unwrap_or_else(|_| panic!("{service:?} is not {expected:?}"));
}

fn failures(server: &Server, reason: &str) -> f64 {
    metric(server, "lfbm_model_load_failures_total", reason)
}

/// `/models`.
fn listed(server: &Server) -> serde_json::Value {
    let reply = http_get(server, "/models");
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// The versions that are served.
fn versions(server: &Server) -> Vec<u64> {
    let listed = listed(server);
    let models = listed["models"].as_array().unwrap().iter();
    models
        .map(|model| model["version"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_new_version_takes_over_and_requests_in_flight_finish_on_the_old_one() {
    let place = Place::new();
    let server = place.serve("0");
    let client = client(&server).await;
    let mut old = 1;
    // As long as it takes for a request to be in flight while its version is replaced.
    for steps in [10_000, 100_000, 1_000_000, 10_000_000] {
        let new = old + 1;
        let draft = place.draft(new, new);
        let mut busy = client.clone();
        let in_flight = tokio::spawn(async move { busy.score(request(Some(steps))).await });
        eventually("the request runs", || {
            let version = format!(r#"version="{old}""#);
            metric(&server, "lfbm_chains_running", &version) == 1.0 || in_flight.is_finished()
        })
        .await;
        fs::rename(
            place.path("first"),
            place.scratch.path().join(old.to_string()),
        )
        .unwrap();
        fs::rename(draft, place.path("first")).unwrap();
        look(&server);
        eventually("the new version is served", || versions(&server) == [new]).await;
        let status = version(&client, old).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        let spanned = !in_flight.is_finished();
        assert_eq!(score(&client, 0).await.model.unwrap().version, new);
        let reply = in_flight.await.unwrap().unwrap().into_inner();
        assert_eq!(reply.model.unwrap().version, old);
        if spanned {
            let text = http_get(&server, "/metrics");
            assert!(!text.contains(&format!(r#"version="{old}""#)), "{text}");
            return;
        }
        old = new;
    }
    panic!("no request was in flight while its version was replaced");
}

#[tokio::test]
async fn a_version_without_room_keeps_nobody_from_another() {
    let place = Place::new();
    place.publish("second", 2, 2);
    let flags = "--max-steps 100000000 --max-chains 4 --max-chains-in-flight 4";
    let flags: Vec<_> = flags.split(' ').collect();
    let server = Server::start(&place.models, place.scratch.path(), &flags);
    let client = client(&server).await;
    let mut endless = request(Some(100_000_000));
    endless.inference.as_mut().unwrap().chains = Some(4);
    endless.version = 1;
    let mut busy = client.clone();
    let endless = tokio::spawn(async move { busy.score(endless).await });
    eventually("the first version is full", || {
        metric(&server, "lfbm_chains_running", r#"version="1""#) == 4.0
    })
    .await;
    let to_first = ScoreRequest {
        version: 1,
        ..request(None)
    };
    let status = client.clone().score(to_first).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(score(&client, 2).await.model.unwrap().version, 2);
    endless.abort();
}

#[tokio::test]
async fn a_version_that_is_gone_is_withdrawn_and_a_moved_one_goes_on() {
    let place = Place::new();
    place.publish("second", 2, 2);
    let server = place.serve("0");
    let client = client(&server).await;
    health(&server, "", ServingStatus::Serving).await;
    let model = format!("lfbm.v1.Model/{MODEL}");
    let expected = score(&client, 1).await.log_joint;
    fs::rename(place.path("first"), place.path("moved")).unwrap();
    fs::remove_dir_all(place.path("second")).unwrap();
    look(&server);
    eventually("the second version is withdrawn", || {
        versions(&server) == [1]
    })
    .await;
    assert_eq!(version(&client, 0).await.unwrap(), 1);
    assert_eq!(score(&client, 1).await.log_joint, expected);
    health(&server, &model, ServingStatus::Serving).await;

    fs::remove_dir_all(place.path("moved")).unwrap();
    look(&server);
    eventually("no model is left", || {
        http_get(&server, "/healthz").starts_with("HTTP/1.1 503")
    })
    .await;
    for number in [0, 1] {
        let status = version(&client, number).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    let named = http_get(&server, &format!("/v1/models/{MODEL}"));
    assert!(named.starts_with("HTTP/1.1 503"), "{named}");
    assert!(http_get(&server, "/livez").starts_with("HTTP/1.1 200"));
    for service in ["", "lfbm.v1.AnomalyDetector"] {
        health(&server, service, ServingStatus::NotServing).await;
    }
    place.publish("back", 3, 3);
    look(&server);
    eventually("a model is back", || versions(&server) == [3]).await;
    for service in ["", "lfbm.v1.AnomalyDetector", &model] {
        health(&server, service, ServingStatus::Serving).await;
    }
}

#[tokio::test]
async fn a_version_renamed_over_another_takes_its_place() {
    let place = Place::new();
    place.publish("second", 2, 2);
    let server = place.serve("0");
    let client = client(&server).await;
    // Back to the first version, whose folder comes before that of the second.
    fs::remove_dir_all(place.path("second")).unwrap();
    fs::rename(place.path("first"), place.path("second")).unwrap();
    look(&server);
    eventually("the second version is withdrawn", || {
        versions(&server) == [1]
    })
    .await;
    assert_eq!(version(&client, 0).await.unwrap(), 1);
    // And from a folder that comes after.
    place.publish("third", 3, 3);
    look(&server);
    eventually("the third version is served", || {
        versions(&server) == [1, 3]
    })
    .await;
    fs::remove_dir_all(place.path("second")).unwrap();
    fs::rename(place.path("third"), place.path("second")).unwrap();
    look(&server);
    eventually("the first version is withdrawn", || {
        versions(&server) == [3]
    })
    .await;
    assert_eq!(metric(&server, "lfbm_model_load_seconds_count", ""), 3.0);
}

#[tokio::test]
async fn versions_that_swap_their_folders_go_on_and_go_with_their_own() {
    let place = Place::new();
    place.publish("second", 2, 2);
    let server = place.serve("0");
    fs::rename(place.path("first"), place.path(".first")).unwrap();
    fs::rename(place.path("second"), place.path("first")).unwrap();
    fs::rename(place.path(".first"), place.path("second")).unwrap();
    // The look that finds it has found the swap.
    place.publish("third", 3, 3);
    look(&server);
    eventually("the third version is served", || {
        versions(&server) == [1, 2, 3]
    })
    .await;
    assert_eq!(failures(&server, "duplicate"), 0.0);
    assert_eq!(metric(&server, "lfbm_model_load_seconds_count", ""), 3.0);
    fs::remove_dir_all(place.path("second")).unwrap();
    look(&server);
    eventually("one version is withdrawn", || versions(&server).len() == 2).await;
    assert_eq!(versions(&server), [2, 3]);
}

#[tokio::test]
async fn a_version_that_makes_room_for_a_new_one_is_not_loaded_again() {
    let place = Place::new();
    let server = place.serve("0");
    let draft = place.draft(2, 2);
    fs::rename(place.path("first"), place.path("previous")).unwrap();
    fs::rename(draft, place.path("first")).unwrap();
    place.publish("third", 3, 3);
    look(&server);
    eventually("the third version is served", || {
        versions(&server) == [1, 2, 3]
    })
    .await;
    assert_eq!(metric(&server, "lfbm_model_load_seconds_count", ""), 3.0);
}

#[tokio::test]
async fn a_broken_bundle_is_refused_once_and_served_when_it_is_mended() {
    let place = Place::new();
    let server = place.serve("1");
    let client = client(&server).await;
    let draft = place.draft(2, 2);
    let weights = fs::read(draft.join("weights.bin")).unwrap();
    let mut broken = weights.clone();
    broken[100] ^= 1;
    fs::write(draft.join("weights.bin"), &broken).unwrap();
    fs::rename(draft, place.path("second")).unwrap();
    eventually("the second version is refused", || {
        failures(&server, "bundle") == 1.0
    })
    .await;
    assert_eq!(metric(&server, "lfbm_models_refused", ""), 1.0);
    let health = http_get(&server, "/healthz");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(health.contains("second/weights.bin"), "{health}");
    assert_eq!(version(&client, 0).await.unwrap(), 1);
    let listed = listed(&server);
    assert_eq!(
        listed["models"],
        serde_json::json!([{ "name": MODEL, "version": 1, "device": "cpu", "shadow": false }])
    );
    let bundle = place.path("second");
    assert_eq!(listed["refused"][0]["bundle"], bundle.to_str().unwrap());

    // Another poll has passed once a third one is there.
    place.publish("third", 3, 3);
    eventually("the third version is served", || {
        versions(&server) == [1, 3]
    })
    .await;
    assert_eq!(failures(&server, "bundle"), 1.0);
    assert!(version(&client, 2).await.is_err());

    fs::write(place.path("second").join("weights.bin"), &weights).unwrap();
    eventually("the second version is served", || {
        versions(&server) == [1, 2, 3]
    })
    .await;
    assert_eq!(metric(&server, "lfbm_models_refused", ""), 0.0);
    assert_eq!(metric(&server, "lfbm_model_load_seconds_count", ""), 3.0);
}

#[tokio::test]
async fn a_broken_bundle_does_not_keep_the_others_from_a_start() {
    let place = Place::new();
    let draft = place.draft(2, 2);
    let weights = fs::read(draft.join("weights.bin")).unwrap();
    fs::write(draft.join("weights.bin"), &weights[1..]).unwrap();
    fs::rename(draft, place.path("second")).unwrap();
    let server = place.serve("0");
    assert_eq!(versions(&server), [1]);
    assert_eq!(failures(&server, "bundle"), 1.0);
    assert_eq!(metric(&server, "lfbm_models_refused", ""), 1.0);
    let health = http_get(&server, "/healthz");
    assert!(health.contains("second/weights.bin"), "{health}");
    fs::write(place.path("second").join("weights.bin"), &weights).unwrap();
    look(&server);
    eventually("the second version is served", || {
        versions(&server) == [1, 2]
    })
    .await;

    // Nothing that can be served is no start.
    fs::write(place.path("first").join("weights.bin"), "").unwrap();
    fs::remove_dir_all(place.path("second")).unwrap();
    let output = common::command(&place.models).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.lines().last().unwrap().contains("first/weights.bin"));
}

#[test]
fn a_stop_while_models_are_loaded_is_a_clean_one() {
    let place = Place::new();
    for version in 2..30 {
        place.publish(&version.to_string(), version, 1);
    }
    let log = place.scratch.path().join("log");
    let mut command = common::command(&place.models);
    command.stderr(fs::File::create(&log).unwrap());
    let mut process = command.spawn().unwrap();
    let logged = |text| fs::read_to_string(&log).unwrap().contains(text);
    while !logged("model loaded") {
        assert!(process.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(5));
    }
    // The first one is no reason to stop.
    for signal in ["-HUP", "-TERM"] {
        let id = process.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }
    let ended = process.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(logged("while models were loaded"));
}

#[tokio::test]
async fn files_that_change_under_a_served_version_are_refused_and_what_was_loaded_goes_on() {
    let place = Place::new();
    let server = place.serve("0");
    let client = client(&server).await;
    let expected = score(&client, 0).await.log_joint;
    let other = place.draft(1, 9);
    fs::rename(place.path("first"), place.scratch.path().join("old")).unwrap();
    fs::rename(other, place.path("first")).unwrap();
    look(&server);
    eventually("the change is refused", || {
        failures(&server, "changed") == 1.0
    })
    .await;
    // Health follows the counter.
    eventually("health says why", || {
        http_get(&server, "/healthz").contains("another version")
    })
    .await;
    assert_eq!(score(&client, 0).await.log_joint, expected);

    // Nor does it matter to what was loaded when its files are cut off.
    for file in fs::read_dir(place.scratch.path().join("old")).unwrap() {
        let path = file.unwrap().path();
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path)
            .unwrap();
    }
    assert_eq!(score(&client, 0).await.log_joint, expected);
}

#[tokio::test]
async fn the_same_version_twice_is_refused_until_the_first_is_gone() {
    let place = Place::new();
    let server = place.serve("1");
    let client = client(&server).await;
    place.publish("second", 1, 2);
    eventually("the second bundle is refused", || {
        failures(&server, "duplicate") == 1.0
    })
    .await;
    let expected = score(&client, 0).await.log_joint;
    // The first answers until the second does.
    let answered = tokio::spawn({
        let mut client = client.clone();
        async move {
            loop {
                let reply = client.score(request(None)).await?.into_inner();
                if reply.log_joint != expected {
                    return Ok::<_, Status>(());
                }
            }
        }
    });
    fs::rename(place.path("first"), place.scratch.path().join("away")).unwrap();
    tokio::time::timeout(Duration::from_secs(60), answered)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(versions(&server), [1]);

    // Or until another version has replaced it.
    place.publish("third", 1, 3);
    eventually("the third bundle is refused", || {
        failures(&server, "duplicate") == 2.0
    })
    .await;
    let draft = place.draft(2, 4);
    fs::rename(place.path("second"), place.scratch.path().join("old")).unwrap();
    fs::rename(draft, place.path("second")).unwrap();
    eventually("both are served", || versions(&server) == [1, 2]).await;
    assert_eq!(metric(&server, "lfbm_models_refused", ""), 0.0);
}

#[tokio::test]
async fn a_place_that_cannot_be_read_withdraws_nothing() {
    let place = Place::new();
    let server = place.serve("0");
    let away = place.scratch.path().join("away");
    fs::rename(&place.models, &away).unwrap();
    fs::write(&place.models, "no folder").unwrap();
    look(&server);
    let refused = || listed(&server)["refused"].as_array().unwrap().len();
    eventually("the place is reported", || refused() == 1).await;
    assert_eq!(versions(&server), [1]);
    fs::remove_file(&place.models).unwrap();
    fs::rename(away, &place.models).unwrap();
    look(&server);
    eventually("all is well again", || refused() == 0).await;
    assert_eq!(versions(&server), [1]);
    assert_eq!(metric(&server, "lfbm_model_load_seconds_count", ""), 1.0);
}

#[tokio::test]
async fn a_place_that_is_gone_withdraws_nothing() {
    let place = Place::new();
    let server = place.serve("0");
    let away = place.scratch.path().join("away");
    fs::rename(&place.models, &away).unwrap();
    let refused = || listed(&server)["refused"].as_array().unwrap().len();
    look(&server);
    eventually("the place is reported", || refused() == 1).await;
    assert_eq!(versions(&server), [1]);
    symlink("nowhere", &place.models).unwrap();
    look(&server);
    eventually("it is looked at again", || failures(&server, "io") == 2.0).await;
    assert_eq!(versions(&server), [1]);
    fs::remove_file(&place.models).unwrap();
    fs::rename(away, &place.models).unwrap();
    look(&server);
    eventually("all is well again", || refused() == 0).await;
    assert_eq!(versions(&server), [1]);
}

#[tokio::test]
async fn a_manifest_beside_bundles_makes_no_bundle_of_their_folder() {
    let place = Place::new();
    let server = place.serve("0");
    let stray = place.path("manifest.json");
    let ours = fs::read(place.path("first").join("manifest.json")).unwrap();
    for text in [&b"{\"name\": \"my app\"}"[..], &ours] {
        fs::write(&stray, text).unwrap();
        look(&server);
        place.publish("second", 2, 2);
        look(&server);
        eventually("both are served", || versions(&server) == [1, 2]).await;
        assert!(http_get(&server, "/healthz").starts_with("HTTP/1.1 200"));
        fs::remove_dir_all(place.path("second")).unwrap();
        look(&server);
        eventually("one is served", || versions(&server) == [1]).await;
    }
    // Nor does it keep a server from its start.
    let again = place.serve("0");
    assert_eq!(versions(&again), [1]);
    // One that is a pipe is not waited for.
    fs::create_dir(place.path("odd")).unwrap();
    symlink("/dev/zero", place.path("odd").join("manifest.json")).unwrap();
    place.publish("third", 3, 3);
    look(&again);
    eventually("the third is served", || versions(&again) == [1, 3]).await;
}

#[tokio::test]
async fn drafts_are_left_alone_until_they_are_renamed() {
    let place = Place::new();
    place.publish(".lfbm-bundle-draft", 2, 2);
    let server = place.serve("0");
    let client = client(&server).await;
    assert_eq!(version(&client, 0).await.unwrap(), 1);
    fs::rename(place.path(".lfbm-bundle-draft"), place.path("second")).unwrap();
    look(&server);
    eventually("the second version is served", || {
        versions(&server) == [1, 2]
    })
    .await;
    assert_eq!(failures(&server, "bundle"), 0.0);
}

#[test]
fn a_device_that_cannot_be_had_is_an_error_that_says_what_to_do() {
    let place = Place::new();
    let mut command = common::command(&place.models);
    let output = command.args(["--device", "cuda:1"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let last = errors.lines().last().unwrap();
    for part in [
        "the device cuda:1 cannot be had",
        "CUDAExecutionProvider",
        "LFBM_ONNXRUNTIME",
        "the device cpu",
    ] {
        assert!(last.contains(part), "{part}: {errors}");
    }
}

#[tokio::test]
async fn a_model_falls_back_to_the_cpu_only_when_told_to_and_says_so() {
    let place = Place::new();
    let device = ["--device", "cuda", "--device-fallback", "cpu"];
    let flags = [&device[..], &["--precision", "tf32"]].concat();
    let server = Server::start(&place.models, place.scratch.path(), &flags);
    score(&client(&server).await, 0).await;
    let devices = r#"asked="cuda:0",cuda_graphs="false",got="cpu""#;
    assert_eq!(metric(&server, "lfbm_model_device_info", devices), 1.0);
    let precision = r#"precision="f32""#;
    assert_eq!(metric(&server, "lfbm_model_device_info", precision), 1.0);
}
