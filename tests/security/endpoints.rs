//! Which endpoints need a token: what `docs/operations.md` says is what the server does.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::net::TcpStream;

use crate::common::{Server, bundle, http_get, http_get_with};

const TOKEN: &str = "alpha";

/// A row of the table: gRPC or HTTP, a path or what paths begin with, and whether a token is needed
/// with tokens, and with health closed besides.
struct Row {
    is_grpc: bool,
    path: String,
    needs_token: [bool; 2],
}

fn table() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| {
        let line = line.strip_prefix("| ")?;
        let is_grpc = line.starts_with("gRPC `/");
        (is_grpc || line.starts_with("HTTP `/")).then(|| {
            let needs = |cell: &str| match cell.trim() {
                "token" => true,
                "open" => false,
                other => panic!("{other:?} in {line}"),
            };
            let cells: Vec<_> = line.split('|').collect();
            Row {
                is_grpc,
                path: line
                    .split('`')
                    .nth(1)
                    .unwrap()
                    .replace("MODEL", "random-mlp"),
                needs_token: [needs(cells[1]), needs(cells[2])],
            }
        })
    });
    rows.collect()
}

/// Every method that the server has.
fn methods() -> Vec<String> {
    let sets = [
        lfbm_wire::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets
        .into_iter()
        .flat_map(|set| FileDescriptorSet::decode(set).unwrap().file);
    let mut methods = Vec::new();
    for file in files {
        for service in &file.service {
            for method in &service.method {
                let (package, service, method) = (file.package(), service.name(), method.name());
                methods.push(format!("/{package}.{service}/{method}"));
            }
        }
    }
    methods
}

/// Whether a call without a message, with or without a token, is turned away for want of one.
async fn is_refused(server: &Server, method: &str, token: bool) -> bool {
    let address = server.url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut head = http::Request::post(format!("{}{method}", server.url))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if token {
        head = head.header("authorization", format!("Bearer {TOKEN}"));
    }
    let head = head.body(()).unwrap();
    let (answer, mut body) = client.send_request(head, false).unwrap();
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    let answer = answer.await.unwrap();
    connection.abort();
    let status = answer.headers().get("grpc-status");
    status.is_some_and(|status| status == "16")
}

#[tokio::test]
async fn the_table_of_endpoints_is_true() {
    let rows = table();
    assert!(rows.len() >= 12, "the table is not where it was");
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, TOKEN).unwrap();
    let bundle = bundle(folder.path());
    let with_tokens = ["--auth-tokens-file", tokens.to_str().unwrap()];
    let closed = [&with_tokens[..], &["--auth-open-health", "false"]].concat();
    for (column, flags) in [Some((0, &with_tokens[..])), Some((1, &closed)), None]
        .map(|case| case.map_or((None, &[][..]), |(column, flags)| (Some(column), flags)))
    {
        let server = Server::start(bundle.dir(), folder.path(), flags);
        let expected = |row: &Row| column.is_some_and(|column| row.needs_token[column]);
        for method in methods() {
            let row = rows
                .iter()
                .filter(|row| row.is_grpc && method.starts_with(&row.path));
            let row = row.max_by_key(|row| row.path.len());
            let row = row.unwrap_or_else(|| panic!("{method} is not in the table"));
            let refused = is_refused(&server, &method, false).await;
            assert_eq!(refused, expected(row), "{method}, {flags:?}");
            assert!(
                !is_refused(&server, &method, true).await,
                "{method}, {flags:?}"
            );
        }
        for row in rows.iter().filter(|row| !row.is_grpc) {
            let refused = http_get(&server, &row.path).starts_with("HTTP/1.1 401");
            assert_eq!(refused, expected(row), "{}, {flags:?}", row.path);
            let header = format!("Authorization: Bearer {TOKEN}\r\n");
            let admitted = http_get_with(&server, &row.path, &header);
            assert!(
                admitted.starts_with("HTTP/1.1 200"),
                "{}: {admitted}",
                row.path
            );
        }
    }
}
