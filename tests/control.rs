//! Loading and unloading models on request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/python.rs"]
mod python;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use common::{Server, client, encoded, eventually, metric, png};
use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::random_bundle;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::{RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
use lfbm_wire::{InferenceParameters, ScoreRequest};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const MODEL: &str = "random-mlp";
const PAGE: &str = "https://operators.example";

/// A folder of bundles with one bundle in it, files of tokens, and room to make others.
struct Place {
    scratch: TempDir,
    models: PathBuf,
    flags: Vec<String>,
}

impl Place {
    fn new(flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let models = scratch.path().join("models");
        fs::create_dir(&models).unwrap();
        let mut flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let file = scratch.path().join("admins");
        fs::write(&file, "sesame # operator\n").unwrap();
        flags.extend(["--admin-tokens-file", file.to_str().unwrap()].map(str::to_owned));
        flags.extend(["--max-steps", "100000000"].map(str::to_owned));
        let place = Self {
            scratch,
            models,
            flags,
        };
        place.publish("first", 1);
        place
    }

    fn publish(&self, folder: &str, version: u64) {
        let draft = self.scratch.path().join("draft");
        let runtime = Runtime::load(None).unwrap();
        random_bundle(&draft, &runtime, GeneratorName::Mlp, 8, 4, version).unwrap();
        let file = draft.join("manifest.json");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replacen(r#""version": 1"#, &format!(r#""version": {version}"#), 1);
        fs::write(&file, text).unwrap();
        fs::rename(draft, self.models.join(folder)).unwrap();
    }

    fn serve(&self) -> Server {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        Server::start(&self.models, self.scratch.path(), &flags)
    }
}

/// Posts over HTTP as it is told to; the status and the JSON of the answer.
fn post(server: &Server, path: &str, headers: &[&str], body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(&server.http).unwrap();
    let headers = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect::<String>();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

const ADMIN: &str = "Authorization: Bearer sesame";

/// Posts as an admin does.
fn change(server: &Server, operation: &str, model: &str) -> (u16, Value) {
    let host = format!("Host: {}", server.http);
    let path = format!("/v2/repository/models/{model}/{operation}");
    post(server, &path, &[&host, ADMIN], "{}")
}

/// Names, versions and states of the index.
fn index(server: &Server) -> Value {
    let host = format!("Host: {}", server.http);
    let (status, models) = post(server, "/v2/repository/index", &[&host], "");
    assert_eq!(status, 200);
    let models = models.as_array().unwrap().iter();
    let entry = |model: &Value| json!([model["name"], model["version"], model["state"]]);
    models.map(entry).collect()
}

async fn score(server: &Server) -> Result<u64, Status> {
    let reply = client(server).await.score(image()).await?.into_inner();
    Ok(reply.model.unwrap().version)
}

fn image() -> ScoreRequest {
    encoded(png(vec![7; 28 * 28]))
}

#[test]
fn the_clients_of_triton_load_and_unload() {
    let place = Place::new(&[]);
    let server = place.serve();
    let grpc = server.url.strip_prefix("http://").unwrap();
    python::python("repository.py", &[&server.http, grpc, MODEL, "sesame"]);
}

#[tokio::test]
async fn an_unloaded_model_stays_so_whatever_is_on_disk_until_it_is_loaded_or_the_server_restarts()
{
    let place = Place::new(&["--model-poll-s", "1"]);
    let server = place.serve();
    // One in flight is answered.
    let mut long = image();
    long.inference = Some(InferenceParameters {
        steps: Some(20_000),
        step_size: Some(0.001),
        ..Default::default()
    });
    let mut busy = client(&server).await;
    let in_flight = tokio::spawn(async move { busy.score(long).await });
    eventually("the long request runs", || {
        metric(&server, "lfbm_chains_running", "") > 0.0
    })
    .await;
    assert_eq!(change(&server, "unload", MODEL), (200, Value::Null));
    assert_eq!(score(&server).await.unwrap_err().code(), Code::Unavailable);
    let unloaded = json!([[MODEL, "1", "UNAVAILABLE"]]);
    assert_eq!(index(&server), unloaded);
    let loaded = metric(&server, "lfbm_model_load_seconds_count", "");

    // A new version comes, and the folder is looked at: the index says when it was.
    place.publish("second", 2);
    let both = json!([[MODEL, "1", "UNAVAILABLE"], [MODEL, "2", "UNAVAILABLE"]]);
    eventually("the folder is looked at", || index(&server) == both).await;
    assert_eq!(metric(&server, "lfbm_model_load_seconds_count", ""), loaded);
    assert_eq!(metric(&server, "lfbm_models_refused", ""), 0.0);
    assert_eq!(score(&server).await.unwrap_err().code(), Code::Unavailable);
    in_flight.await.unwrap().unwrap();

    assert_eq!(change(&server, "load", MODEL), (200, Value::Null));
    assert_eq!(score(&server).await.unwrap(), 2);
    let both = json!([[MODEL, "1", "READY"], [MODEL, "2", "READY"]]);
    assert_eq!(index(&server), both);

    assert_eq!(change(&server, "unload", MODEL).0, 200);
    drop(server);
    let server = place.serve();
    assert_eq!(score(&server).await.unwrap(), 2);
    assert_eq!(index(&server), both);
}

#[tokio::test]
async fn a_model_that_came_is_loaded_without_a_scan_and_one_that_is_broken_says_why() {
    let place = Place::new(&["--model-poll-s", "0"]);
    let server = place.serve();
    place.publish("second", 2);
    assert_eq!(score(&server).await.unwrap(), 1);
    assert_eq!(change(&server, "load", MODEL).0, 200);
    assert_eq!(score(&server).await.unwrap(), 2);

    let broken = place.models.join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("manifest.json"), "{}").unwrap();
    let (status, problem) = change(&server, "load", "broken");
    assert_eq!((status, &problem["reason"]), (400, &json!("MODEL_REFUSED")));
    let reason = problem["detail"].as_str().unwrap();
    assert!(reason.contains("manifest.json"), "{reason}");
    for operation in ["load", "unload"] {
        assert_eq!(change(&server, operation, "nobody").0, 404);
        for name in ["%2Fetc", "..%2Ffirst", "s3%3A%2F%2Fbucket"] {
            let (status, problem) = change(&server, operation, name);
            assert_eq!(status, 400, "{name}: {problem}");
            assert_eq!(problem["errors"][0]["field"], "model_name", "{name}");
        }
    }
    // A folder's name is no model's.
    assert_eq!(change(&server, "unload", "first").0, 404);
    assert_eq!(score(&server).await.unwrap(), 2);
}

#[tokio::test]
async fn only_admins_change_what_is_served_and_no_page_of_another_origin() {
    let place = Place::new(&[]);
    let tokens = place.scratch.path().join("tokens");
    fs::write(&tokens, "alpha\n").unwrap();
    let mut place = place;
    let origins = format!("{PAGE},*");
    place.flags.extend(
        [
            "--auth-tokens-file",
            tokens.to_str().unwrap(),
            "--cors-origins",
            &origins,
            "--admin-hosts",
            "scores.example",
        ]
        .map(str::to_owned),
    );
    let server = place.serve();
    let path = format!("/v2/repository/models/{MODEL}/load");
    let host = format!("Host: {}", server.http);
    let own_page = format!("Origin: http://{}", server.http);
    let page = format!("Origin: {PAGE}");
    for (headers, status, reason) in [
        (&[&*host][..], 401, "TOKEN_REQUIRED"),
        (
            &[&host, "Authorization: Bearer alpha"],
            403,
            "ADMIN_TOKEN_REQUIRED",
        ),
        // Of a page whose name was made one of this machine.
        (&["Host: evil.example", ADMIN], 403, "HOST_UNKNOWN"),
        (
            &["Host: evil.example", "Origin: http://evil.example", ADMIN],
            403,
            "HOST_UNKNOWN",
        ),
        (
            &[&host, "Origin: https://evil.example", ADMIN],
            403,
            "ORIGIN_UNKNOWN",
        ),
        (&[&host, "Origin: null", ADMIN], 403, "ORIGIN_UNKNOWN"),
        (&[&host, ADMIN], 200, ""),
        (&[&host, &own_page, ADMIN], 200, ""),
        (&[&host, &page, ADMIN], 200, ""),
        (&["Host: scores.example:9464", ADMIN], 200, ""),
        (&["Host: LOCALHOST", ADMIN], 200, ""),
        (&["Host: [::1]:9464", ADMIN], 200, ""),
    ] {
        let (got, problem) = post(&server, &path, headers, "");
        assert_eq!(got, status, "{headers:?}: {problem}");
        assert_eq!(
            problem["reason"].as_str().unwrap_or_default(),
            reason,
            "{headers:?}"
        );
    }
    for (headers, body, field) in [
        (
            &[&*host, ADMIN, "Content-Type: text/plain"][..],
            "{}",
            "content-type",
        ),
        (&[&host, ADMIN], "model", "body"),
        (&[&host, ADMIN], r#"{"path": "/etc"}"#, "body"),
        (
            &[&host, ADMIN],
            r#"{"parameters": {"config": "{}"}}"#,
            "parameters",
        ),
        (
            &[&host, ADMIN],
            r#"{"parameters": {"file:1/a": "AAAA"}}"#,
            "parameters",
        ),
    ] {
        let (status, problem) = post(&server, &path, headers, body);
        assert_eq!(status, 400, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    let long = format!(
        r#"{{"parameters": {{"config": "{}"}}}}"#,
        "a".repeat(65_536)
    );
    assert_eq!(post(&server, &path, &[&host, ADMIN], &long).0, 413);

    // The same over gRPC, and an admin token opens nothing else.
    let channel = Channel::from_shared(server.url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut v2 = GrpcInferenceServiceClient::new(channel);
    let load = |headers: &[(&'static str, &str)]| {
        let mut request = Request::new(RepositoryModelLoadRequest {
            model_name: MODEL.to_owned(),
            ..Default::default()
        });
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let admin = ("authorization", "Bearer sesame");
    v2.repository_model_load(load(&[admin])).await.unwrap();
    for (headers, code) in [
        (&[][..], Code::Unauthenticated),
        (&[("authorization", "Bearer alpha")], Code::PermissionDenied),
        (
            &[admin, ("origin", "https://evil.example")],
            Code::PermissionDenied,
        ),
    ] {
        let refused = v2.repository_model_load(load(headers)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{headers:?}");
    }
    let mut request = Request::new(image());
    request
        .metadata_mut()
        .insert(admin.0, admin.1.parse().unwrap());
    let refused = client(&server).await.score(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn without_admin_tokens_nobody_changes_what_is_served() {
    let mut place = Place::new(&[]);
    place.flags.clear();
    let server = place.serve();
    for operation in ["load", "unload"] {
        let (status, problem) = change(&server, operation, MODEL);
        assert_eq!((status, &problem["reason"]), (501, &json!("CONTROL_OFF")));
    }
    let mut v2 = GrpcInferenceServiceClient::connect(server.url.clone())
        .await
        .unwrap();
    let unload = RepositoryModelUnloadRequest {
        model_name: MODEL.to_owned(),
        ..Default::default()
    };
    let refused = v2.repository_model_unload(unload).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(index(&server), json!([[MODEL, "1", "READY"]]));
    assert_eq!(score(&server).await.unwrap(), 1);
    let id = server.process.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
}
