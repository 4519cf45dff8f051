//! REST, against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/python.rs"]
mod python;

mod access;
mod connections;
mod errors;
mod memory;
mod open_inference;
mod openapi;
mod scores;
mod sites;

use std::io::Read;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, StatusCode};

use common::Server;

/// The name of the model of [`common::bundle`].
const MODEL: &str = "random-mlp";

/// An answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of a problem, which has to be one of that status.
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

/// Sends a request with headers.
fn send_with(
    agent: &Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent.run(request.body(body).unwrap()).unwrap();
    let mut body = Vec::new();
    response
        .body_mut()
        .as_reader()
        .read_to_end(&mut body)
        .unwrap();
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body,
    }
}

/// A client that takes answers as they are.
fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true);
    config.build().into()
}

/// Posts a body.
fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let url = format!("http://{}{path}", server.http);
    send_with(&agent(), "POST", &url, headers, body)
}

/// Posts JSON.
fn post_json(server: &Server, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    post(server, path, &headers, body.to_string().as_bytes())
}

/// The path of a model's operation.
fn path(operation: &str) -> String {
    format!("/v1/models/{MODEL}:{operation}")
}
