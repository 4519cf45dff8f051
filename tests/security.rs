//! Who may talk to the server, over what, and what a hostile or broken client can do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::task;
use std::time::{Duration, Instant};

use common::{Server, bundle, client, encoded, http_get, http_get_with, pixels, png};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use futures_util::stream;
use image::{GrayImage, ImageFormat};
use lfbm_server::proto::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_server::proto::image::Content;
use lfbm_server::proto::{
    DataType, GetModelRequest, Image, ListModelsRequest, ScoreRequest, Tensor,
};
use lfbm_server::service::RequestLayer;
use lfbm_server::telemetry::{Metrics, watch_panics};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate authority of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `localhost` and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Writes a certificate and its key; their paths.
fn write_pair(folder: &Path, (certificate, key): &(String, String)) -> [String; 2] {
    [("cert.pem", certificate), ("key.pem", key)].map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost")
}

/// Asks over TLS, in a new connection.
async fn list_over_tls(server: &Server, tls: ClientTlsConfig) -> Result<usize, String> {
    let url = server.url.replace("http://", "https://");
    let endpoint = Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
    let channel = endpoint.connect().await.map_err(|e| format!("{e:?}"))?;
    let reply = AnomalyDetectorClient::new(channel)
        .list_models(ListModelsRequest {})
        .await
        .map_err(|status| format!("{status:?}"))?;
    Ok(reply.into_inner().models.len())
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_are_replaced_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let [cert, key] = write_pair(folder.path(), &old.issue());
    let flags = ["--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    assert_eq!(list_over_tls(&server, trusting(&old)).await, Ok(1));
    list_over_tls(&server, trusting(&new)).await.unwrap_err();
    let plain = AnomalyDetectorClient::connect(server.url.clone()).await;
    let refused = match plain {
        Ok(mut client) => client.list_models(ListModelsRequest {}).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "a client without TLS was answered");

    // A certificate that does not belong to the key is refused, and the old pair stays.
    fs::write(&cert, new.issue().0).unwrap();
    let reloads = |result: &str| format!(r#"lfbm_reloads_total{{files="tls",result="{result}"}}"#);
    wait_for(&server, &reloads("failed")).await;
    assert_eq!(list_over_tls(&server, trusting(&old)).await, Ok(1));

    write_pair(folder.path(), &new.issue());
    wait_for(&server, &reloads("ok")).await;
    assert_eq!(list_over_tls(&server, trusting(&new)).await, Ok(1));
    list_over_tls(&server, trusting(&old)).await.unwrap_err();
}

async fn wait_for(server: &Server, metric: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !http_get(server, "/metrics").contains(metric) {
        assert!(Instant::now() < deadline, "{metric} never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn mutual_tls_wants_a_certificate_of_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::new(), Authority::new());
    let [cert, key] = write_pair(folder.path(), &authority.issue());
    let client_ca = folder.path().join("clients.pem");
    fs::write(&client_ca, clients.pem()).unwrap();
    let client_ca = client_ca.to_str().unwrap();
    let flags = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        client_ca,
    ];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let with = |issuer: &Authority| {
        let (cert, key) = issuer.issue();
        trusting(&authority).identity(Identity::from_pem(cert, key))
    };
    assert_eq!(list_over_tls(&server, with(&clients)).await, Ok(1));
    list_over_tls(&server, with(&authority)).await.unwrap_err();
    list_over_tls(&server, trusting(&authority))
        .await
        .unwrap_err();
}

fn with_token<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = authorization.parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_token_is_needed_and_the_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "# team a\nalpha\nbeta\n").unwrap();
    let flags = ["--auth-tokens-file", tokens.to_str().unwrap()];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = AnomalyDetectorClient::new(channel.clone());
    for good in ["Bearer alpha", "bearer beta"] {
        let request = with_token(ListModelsRequest {}, good);
        client.list_models(request).await.unwrap();
    }
    for bad in [
        "Bearer gamma",
        "Bearer alph",
        "Bearer ",
        "alpha",
        "Basic alpha",
    ] {
        let request = with_token(ListModelsRequest {}, bad);
        let status = client.list_models(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{bad}");
    }
    let status = client.list_models(ListModelsRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.metadata().contains_key("x-request-id"));
    // Probes need none.
    let mut health = HealthClient::new(channel);
    health.check(HealthCheckRequest::default()).await.unwrap();
    let metrics = http_get(&server, "/metrics");
    let refused = r#"lfbm_requests_total{code="Unauthenticated",method="ListModels",model=""} 6"#;
    assert!(metrics.contains(refused), "{metrics}");

    fs::write(&tokens, "").unwrap();
    let reloads =
        |result: &str| format!(r#"lfbm_reloads_total{{files="auth tokens",result="{result}"}}"#);
    wait_for(&server, &reloads("failed")).await;
    let request = with_token(ListModelsRequest {}, "Bearer alpha");
    client.list_models(request).await.unwrap();
    fs::write(&tokens, "gamma\n").unwrap();
    wait_for(&server, &reloads("ok")).await;
    let request = with_token(ListModelsRequest {}, "Bearer gamma");
    client.list_models(request).await.unwrap();
    let request = with_token(ListModelsRequest {}, "Bearer alpha");
    client.list_models(request).await.unwrap_err();
}

#[tokio::test]
async fn health_and_metrics_can_be_closed_too() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "alpha").unwrap();
    let flags = [
        "--auth-tokens-file",
        tokens.to_str().unwrap(),
        "--auth-open-health",
        "false",
    ];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let status = health.check(HealthCheckRequest::default()).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    let request = with_token(HealthCheckRequest::default(), "Bearer alpha");
    health.check(request).await.unwrap();
    assert!(http_get(&server, "/metrics").starts_with("HTTP/1.1 401"));
    let token = "Authorization: Bearer alpha\r\n";
    assert!(http_get_with(&server, "/metrics", token).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut client = AnomalyDetectorClient::new(channel.connect().await.unwrap());
    let named = |id: &'static str| {
        let mut request = Request::new(ListModelsRequest {});
        request
            .metadata_mut()
            .insert("x-request-id", id.parse().unwrap());
        let mut client = client.clone();
        async move {
            let reply = client.list_models(request).await.unwrap();
            let id = reply.metadata().get("x-request-id").unwrap();
            id.to_str().unwrap().to_owned()
        }
    };
    assert_eq!(named("inspection-7/42").await, "inspection-7/42");
    // An id with a space could pretend to be more than an id in a log.
    let made = named("two words").await;
    assert_eq!(made.len(), 32, "{made}");
    assert_ne!(named("two words").await, made);
    let request = GetModelRequest {
        model: "other".to_owned(),
        version: 0,
    };
    let status = client.get_model(request).await.unwrap_err();
    assert_eq!(status.metadata().get("x-request-id").unwrap().len(), 32);
}

/// A service whose methods panic: one before it answers, one while it does.
struct Broken;

#[tonic::async_trait]
impl Health for Broken {
    type WatchStream = stream::PollFn<fn(&mut task::Context<'_>) -> task::Poll<WatchItem>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        panic!("a mistake")
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(stream::poll_fn(|_| panic!("a mistake"))))
    }
}

type WatchItem = Option<Result<HealthCheckResponse, Status>>;

#[tokio::test]
async fn a_panic_is_internal_counted_and_ends_nothing_else() {
    let metrics = Metrics::new(10, "none").unwrap();
    watch_panics(metrics.clone());
    let descriptors = [tonic_health::pb::FILE_DESCRIPTOR_SET];
    let layer = RequestLayer::new(metrics.clone(), None, true, &descriptors).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .layer(layer)
        .add_service(HealthServer::new(Broken))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    // One connection for all: it survives.
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    for _ in 0..2 {
        let status = client.check(HealthCheckRequest::default()).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
        assert!(status.metadata().contains_key("x-request-id"));
        let watched = client.watch(HealthCheckRequest::default()).await.unwrap();
        let status = watched.into_inner().message().await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
    }
    let text = String::from_utf8(metrics.text().unwrap().0).unwrap();
    assert!(text.contains("lfbm_panics_total 4"), "{text}");
    for method in ["Check", "Watch"] {
        let counted =
            format!(r#"lfbm_requests_total{{code="Internal",method="{method}",model=""}} 2"#);
        assert!(text.contains(&counted), "{text}");
    }
}

#[tokio::test]
async fn idle_connections_are_harmless_and_their_number_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--max-connections", "300"];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let mut client = AnomalyDetectorClient::connect(server.url.clone())
        .await
        .unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    client.list_models(ListModelsRequest {}).await.unwrap();
    wait_for(&server, r#"lfbm_rejected_total{reason="connections"}"#).await;
    // The silent ones lose their places in time, and others get them.
    let deadline = Instant::now() + PATIENCE;
    let ask = async || {
        let channel = Channel::from_shared(server.url.clone()).unwrap();
        let mut late = AnomalyDetectorClient::new(channel.connect().await?);
        let reply = late.list_models(ListModelsRequest {}).await?;
        Ok::<_, Box<dyn std::error::Error>>(reply)
    };
    while let Err(error) = ask().await {
        assert!(Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.list_models(ListModelsRequest {}).await.unwrap();
}

/// A PNG chunk.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checked = kind.to_vec();
    checked.extend(data);
    let mut crc = flate2::Crc::new();
    crc.update(&checked);
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &checked, &crc.sum().to_be_bytes()].concat()
}

/// Puts a colour profile of so many zeros into a PNG file.
fn with_profile(png: &[u8], bytes: usize) -> Vec<u8> {
    let mut deflated = ZlibEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes / zeros.len() {
        deflated.write_all(&zeros).unwrap();
    }
    let profile = [b"bomb\0\0", &deflated.finish().unwrap()[..]].concat();
    // After the signature and the header.
    let (head, rest) = png.split_at(8 + 25);
    [head, &chunk(b"iCCP", &profile), rest].concat()
}

fn peak_bytes(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    1024 * kib.parse::<usize>().unwrap()
}

#[tokio::test]
async fn hostile_images_get_a_precise_error_and_little_memory() {
    const BOMB_BYTES: usize = 512 << 20;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let image = png(pixels(&bundle.manifest().image, 0));
    let good = encoded(image.clone());
    client.score(good.clone()).await.unwrap();
    let before = peak_bytes(&server);

    let blank = |width, height| {
        let mut file = Cursor::new(Vec::new());
        let blank = GrayImage::new(width, height);
        blank.write_to(&mut file, ImageFormat::Png).unwrap();
        encoded(file.into_inner())
    };
    let tensor = |shape: &[u64], data: Vec<u8>| ScoreRequest {
        image: Some(Image {
            content: Some(Content::Tensor(Tensor {
                data_type: DataType::Float32.into(),
                shape: shape.to_vec(),
                data,
            })),
        }),
        ..Default::default()
    };
    let filled = |value: f32| value.to_le_bytes().repeat(784);
    let hostile = [
        (blank(1, 1), "got 1 x 1"),
        (blank(10_000, 10_000), "got 10000 x 10000"),
        (encoded(Vec::new()), "no bytes"),
        (encoded(b"\x89PNG\r\n\x1a\n".to_vec()), "broken"),
        (tensor(&[1, 28, 28], filled(f32::NAN)), "NaN at index 0"),
        (
            tensor(&[1, 28, 28], filled(f32::INFINITY)),
            "inf at index 0",
        ),
        (tensor(&[1, 28, 28], filled(-1.0)), "-1 at index 0"),
        (tensor(&[3, 28, 28], filled(0.5)), "got [3, 28, 28]"),
        (tensor(&[1, 28, 28], Vec::new()), "got 0"),
        (tensor(&[], filled(0.5)), "got []"),
        (
            tensor(&[u64::MAX, u64::MAX, 2], filled(0.5)),
            "18446744073709551615",
        ),
    ];
    for (request, part) in hostile {
        let status = client.score(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{part}: {status:?}");
        assert!(status.message().contains(part), "{part}: {status:?}");
    }
    // The profile has no influence on the score; it is left packed.
    let bomb = encoded(with_profile(&image, BOMB_BYTES));
    client.score(bomb).await.unwrap();
    // What is small on the wire and large in memory is refused where it crosses the limit.
    let mut packing = client.clone().send_compressed(CompressionEncoding::Gzip);
    let status = packing
        .score(encoded(vec![0; BOMB_BYTES]))
        .await
        .unwrap_err();
    assert!(status.message().contains("limit"), "{status:?}");

    client.score(good).await.unwrap();
    let grown = peak_bytes(&server).saturating_sub(before);
    assert!(grown < BOMB_BYTES / 4, "{grown} bytes");
}
