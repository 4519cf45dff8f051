//! The process is killed; the files under it change.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::common::{Server, bundle, client, close, encoded, eventually, metric, pixels, png};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_under_load_clients_that_try_again_get_the_same_scores() {
    const CLIENTS: usize = 8;
    const ANSWERS: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let mut server = Server::start(bundle.dir(), folder.path(), &[]);
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    let reply = client(&server).await.score(request.clone()).await.unwrap();
    let expected = reply.into_inner().log_joint;

    let answered = Arc::new(AtomicUsize::new(0));
    let restarted = Arc::new(AtomicBool::new(false));
    let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = AnomalyDetectorClient::new(endpoint.connect_lazy());
            let request = request.clone();
            let (answered, restarted) = (Arc::clone(&answered), Arc::clone(&restarted));
            tokio::spawn(async move {
                let mut after = 0;
                while after < ANSWERS {
                    let is_new = restarted.load(Ordering::SeqCst);
                    match client.score(request.clone()).await {
                        Ok(reply) => {
                            let got = reply.into_inner().log_joint;
                            assert!(close(got, expected), "{got}, {expected}");
                            answered.fetch_add(1, Ordering::SeqCst);
                            after += usize::from(is_new);
                        }
                        Err(status) => {
                            let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled];
                            assert!(broken.contains(&status.code()), "{status:?}");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
            })
        })
        .collect();
    eventually("clients are answered", || {
        answered.load(Ordering::SeqCst) > 4 * CLIENTS
    })
    .await;
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let _server = Server::start(bundle.dir(), folder.path(), &["--grpc-address", address]);
    restarted.store(true, Ordering::SeqCst);
    for client in clients {
        let ended = tokio::time::timeout(Duration::from_secs(120), client).await;
        ended.expect("no answer within two minutes").unwrap();
    }
}

#[tokio::test]
async fn a_bundle_that_breaks_under_the_server_goes_on_being_served() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &["--model-poll-s", "1"]);
    let mut client = client(&server).await;
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    let mut score = async || {
        let reply = client.score(request.clone()).await.unwrap();
        reply.into_inner().log_joint
    };
    let expected = score().await;
    let files: Vec<_> = fs::read_dir(bundle.dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    for file in &files {
        let length = fs::metadata(file).unwrap().len() as usize;
        fs::write(file, vec![0xff; length]).unwrap();
    }
    assert!(close(score().await, expected), "bytes were overwritten");
    for file in &files {
        File::create(file).unwrap();
    }
    assert!(close(score().await, expected), "files were cut");
    eventually("the broken bundle is refused", || {
        metric(&server, "lfbm_models_refused", "") == 1.0
    })
    .await;
    assert!(close(score().await, expected), "the bundle was refused");
}
