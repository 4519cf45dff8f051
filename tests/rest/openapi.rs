//! The OpenAPI document is valid, and says what the server does.

use std::collections::BTreeSet;
use std::fs;

use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

use crate::common::{Server, bundle, pixels, png};
use crate::python::python;
use crate::{Answer, agent, path, post, post_json, send_with};

#[tokio::test]
async fn the_document_is_valid_and_replies_are_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let get = |path: &str| -> Answer {
        let url = format!("http://{}{path}", server.http);
        send_with(&agent(), "GET", &url, &[], b"")
    };
    let document = get("/openapi.json").json();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let bytes = pixels(&bundle.manifest().image, 0);
    let file = png(bytes.clone());
    let score = path("score");
    let input = json!({"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": bytes});
    let infer = "/v2/models/random-mlp/infer";
    let replies = [
        ("Models", get("/v1/models")),
        ("Model", get("/v1/models/random-mlp")),
        ("Score", post(&server, &score, &[], &file)),
        (
            "Score",
            post(&server, &format!("{score}?steps=3"), &[], &file),
        ),
        ("Explanation", post(&server, &path("explain"), &[], &file)),
        (
            "Explanation",
            post(
                &server,
                &format!("{}?form=png", path("explain")),
                &[],
                &file,
            ),
        ),
        ("Samples", post(&server, &path("sample"), &[], b"")),
        ("ServerMetadata", get("/v2")),
        ("Live", get("/v2/health/live")),
        ("Ready", get("/v2/health/ready")),
        ("Ready", get("/v2/models/random-mlp/ready")),
        ("ModelMetadata", get("/v2/models/random-mlp")),
        (
            "InferReply",
            post_json(&server, infer, &json!({"inputs": [input]})),
        ),
        (
            "RepositoryIndex",
            post_json(&server, "/v2/repository/index", &json!({"ready": true})),
        ),
        ("Problem", post(&server, &score, &[], b"")),
        ("Problem", post_json(&server, infer, &json!({}))),
        ("Problem", get("/nowhere")),
    ];
    let replies: Vec<(&str, Value)> = replies
        .iter()
        .map(|(name, answer)| {
            assert_eq!(
                answer.status == 200,
                *name != "Problem",
                "{name}: {answer:?}"
            );
            (*name, answer.json())
        })
        .collect();
    let files = [
        ("document.json", &document),
        ("replies.json", &json!(replies)),
    ];
    let files = files.map(|(name, value)| {
        let file = folder.path().join(name);
        fs::write(&file, value.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    });
    python("openapi.py", &[&files[0], &files[1]]);

    // Every path is one of the server's, with the methods that the document gives it and no other.
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{model}", "random-mlp")
            .replace("{version}", "1");
        for (method, documented) in ["get", "post", "put", "delete"]
            .map(|method| (method, operations.get(method).is_some()))
        {
            let url = format!("http://{}{path}", server.http);
            let answer = send_with(&agent(), &method.to_uppercase(), &url, &[], b"");
            assert_ne!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.status != 405, documented, "{method} {path}");
        }
    }
}

/// Every list of values in a document, without null.
fn enumerations(value: &Value, found: &mut Vec<BTreeSet<String>>) {
    if let Some(values) = value["enum"].as_array() {
        let names = values.iter().filter_map(Value::as_str);
        found.push(names.map(str::to_owned).collect());
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|value| enumerations(value, found)),
        Value::Array(values) => values.iter().for_each(|value| enumerations(value, found)),
        _ => (),
    }
}

#[test]
fn the_document_lists_every_value_of_the_protos_enumerations() {
    let document = include_str!("../../src/rest/openapi.json");
    let document = serde_json::from_str(document).unwrap();
    let mut listed = Vec::new();
    enumerations(&document, &mut listed);
    let files = FileDescriptorSet::decode(lfbm_wire::DESCRIPTORS).unwrap();
    let own = files.file.iter().filter(|file| file.package() == "lfbm.v1");
    let of_proto: Vec<_> = own.flat_map(|file| &file.enum_type).collect();
    assert!(of_proto.len() >= 9);
    for enumeration in of_proto {
        let names: Vec<_> = enumeration.value.iter().map(|value| value.name()).collect();
        let prefix = names[0].strip_suffix("UNSPECIFIED").unwrap();
        let values = names[1..]
            .iter()
            .map(|name| name.strip_prefix(prefix).unwrap());
        let mut values: BTreeSet<_> = values.map(str::to_ascii_lowercase).collect();
        if prefix == "IMAGE_FORM_" {
            // Absent in gRPC, where it is the default.
            values.insert("both".to_owned());
        }
        assert!(
            listed.contains(&values),
            "{}: {values:?}",
            enumeration.name()
        );
    }
}

/// The names of an object's fields.
fn keys(object: &Value) -> BTreeSet<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn the_document_has_every_parameter_that_the_server_takes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let document = include_str!("../../src/rest/openapi.json");
    let document: Value = serde_json::from_str(document).unwrap();
    for (operation, schema) in [
        ("score", "ScoreRequest"),
        ("explain", "ExplainRequest"),
        ("sample", "SampleRequest"),
    ] {
        let unknown = post(&server, &format!("{}?none=1", path(operation)), &[], b"");
        let problem = unknown.problem(400);
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        let names = detail.strip_prefix("expected some of ").unwrap();
        let taken: BTreeSet<_> = names.split(", got").next().unwrap().split(", ").collect();
        let in_json =
            &document["components"]["schemas"][schema]["properties"]["parameters"]["properties"];
        assert_eq!(keys(in_json), taken, "{schema}");
        for path in [
            format!("/v1/models/{{model}}:{operation}"),
            format!("/v1/models/{{model}}/versions/{{version}}:{operation}"),
        ] {
            let listed = document["paths"][&path]["post"]["parameters"].as_array();
            let listed = listed.unwrap().iter().map(|parameter| {
                let reference = parameter["$ref"].as_str().unwrap().strip_prefix('#');
                document.pointer(reference.unwrap()).unwrap()
            });
            let of_query = listed.filter(|parameter| parameter["in"] == "query");
            let of_query: BTreeSet<_> = of_query
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(of_query, taken, "{path}");
        }
    }
}
