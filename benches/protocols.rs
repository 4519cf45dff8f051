//! What a protocol and the audit log cost: images a second through REST and with an audit log, as shares
//! of those through gRPC without one. The shipped bundle scores one PNG file again and again, asked by
//! 64 connections, each with one request under way; the three take turns, and begin in turns, so that what
//! else the machine does meets all of them.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use common::Server;
use lfbm_wire::ScoreRequest;

const CONNECTIONS: usize = 64;
/// Of each of the three.
const ROUNDS: usize = 31;
const ROUND: Duration = Duration::from_secs(2);

/// Images a second through gRPC.
fn grpc(server: &Server, request: &ScoreRequest) -> f64 {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(common::client(server).await);
        }
        let started = Instant::now();
        let connections = clients.into_iter().map(|mut client| async move {
            let mut scored = 0;
            while started.elapsed() < ROUND {
                client.score(request.clone()).await.unwrap();
                scored += 1;
            }
            scored
        });
        let scored = futures_util::future::join_all(connections).await;
        rate(scored.iter().sum(), started)
    })
}

/// Images a second through REST.
fn rest(server: &Server, file: &[u8]) -> f64 {
    let url = format!("http://{}/v1/models/mnist-not4:score", server.http);
    let ready = Barrier::new(CONNECTIONS + 1);
    thread::scope(|scope| {
        let ask = || {
            let agent = ureq::Agent::new_with_defaults();
            let score = || {
                let mut reply = agent.post(&url).send(file).unwrap();
                reply.body_mut().read_to_vec().unwrap();
            };
            score();
            ready.wait();
            let started = Instant::now();
            let mut scored = 0;
            while started.elapsed() < ROUND {
                score();
                scored += 1;
            }
            scored
        };
        let connections: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        ready.wait();
        let started = Instant::now();
        let scored = connections.into_iter().map(|asked| asked.join().unwrap());
        rate(scored.sum(), started)
    })
}

fn rate(scored: u64, started: Instant) -> f64 {
    scored as f64 / started.elapsed().as_secs_f64()
}

/// The least, the middle and the greatest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    ]
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [plain, audited] = &folders;
    let (log, key) = (audited.path().join("audit"), audited.path().join("key"));
    fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    let paths = [&log, &key].map(|path| path.to_str().unwrap());
    let flags = ["--audit-log", paths[0], "--audit-key-file", paths[1]];
    let bundle = root.join("models/mnist-not4");
    let plain = Server::start(&bundle, plain.path(), &[]);
    let audited = Server::start(&bundle, audited.path(), &flags);
    let file = fs::read(root.join("deploy/samples/strokes-4-0.png")).unwrap();
    let request = common::encoded(file.clone());

    let by_grpc = || grpc(&plain, &request);
    let by_rest = || rest(&plain, &file);
    let with_log = || grpc(&audited, &request);
    let measure: [&dyn Fn() -> f64; 3] = [&by_grpc, &by_rest, &with_log];
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        for turn in 0..measure.len() {
            let which = (round + turn) % measure.len();
            let rate = measure[which]();
            // The first round warms up.
            if round > 0 {
                rates[which].push(rate);
            }
        }
    }
    let [of_grpc, ..] = &rates;
    for (name, all) in ["gRPC", "REST", "gRPC, audit log"].iter().zip(&rates) {
        let shares = all.iter().zip(of_grpc).map(|(rate, grpc)| rate / grpc);
        let [least, share, most] = spread(shares.collect());
        let [_, rate, _] = spread(all.clone());
        println!("{name:<16} {rate:>8.0} images/s, {share:.3} of gRPC ({least:.3} to {most:.3})");
    }
}
