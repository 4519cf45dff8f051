//! What the servers are asked.

use std::fs;
use std::path::Path;

use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::{
    RandomModel, RandomSites, benchmark_model, random_bundle_of, random_site_bundle,
};
use lfbm_wire::{InferenceParameters, ScoreRequest};

use crate::common::{self, Server};
use crate::load::{one_stream, request};
use crate::{Growth, Series};

/// Chains of 20 steps that a round of a point has, about: a second of one core.
const CHAINS: usize = 3000;
const MIB: f64 = (1 << 20) as f64;

/// A server, and what it is asked again and again.
pub struct Point {
    /// What the cost grows with.
    pub amount: f64,
    server: Server,
    request: ScoreRequest,
    images: usize,
    /// What the CPU time is divided by.
    units: f64,
}

/// Points that differ in one amount.
pub struct Kind {
    pub name: &'static str,
    /// What the CPU time is of.
    pub time_of: &'static str,
    pub points: Vec<Point>,
}

impl Point {
    /// Of a round.
    pub fn cpu_ms_per_unit(&self) -> f64 {
        let before = cpu_ms(&self.server);
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio.block_on(async {
            let client = common::client(&self.server).await;
            one_stream(client, self.request.clone(), self.images as u64).await;
        });
        (cpu_ms(&self.server) - before) / self.units
    }

    /// Since the server's start.
    pub fn peak_mib(&self) -> f64 {
        common::peak_bytes(&self.server) as f64 / MIB
    }
}

/// CPU time of the server's process, in the kernel and outside.
fn cpu_ms(server: &Server) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", server.process.id())).unwrap();
    // Behind the program's name, which may have spaces; proc(5) counts from 1.
    let fields: Vec<_> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    // A tick is a hundredth of a second on Linux.
    10.0 * (ticks(14) + ticks(15))
}

/// A server of a random model of 28 x 28 pixels.
fn digits(folder: &Path, runtime: &Runtime, stored: usize) -> Server {
    let out = folder.join(format!("stored-{stored}"));
    if !out.is_dir() {
        let model = RandomModel {
            stored_images: stored,
            ..benchmark_model(GeneratorName::Mlp)
        };
        random_bundle_of(&out, runtime, model).unwrap();
    }
    Server::start(&out, folder, &[])
}

const DIGIT: [usize; 3] = [1, 28, 28];
const STORED: usize = 200;

/// Makes the points of a kind.
type Make = fn(&Path, &Runtime) -> Kind;

pub fn kinds() -> [Make; 5] {
    [images, steps, chains, sites, stored_images]
}

fn images(folder: &Path, runtime: &Runtime) -> Kind {
    let points = [1, 2, 4, 8].map(|times| {
        let images = times * CHAINS / 4;
        Point {
            amount: images as f64,
            server: digits(folder, runtime, STORED),
            request: request(DIGIT),
            images,
            units: 1.0,
        }
    });
    Kind {
        name: "images",
        time_of: "of one stream",
        points: points.into(),
    }
}

fn steps(folder: &Path, runtime: &Runtime) -> Kind {
    let points = [20, 40, 80, 160, 320].map(|steps| {
        let inference = InferenceParameters {
            steps: Some(steps),
            ..Default::default()
        };
        let images = CHAINS * 20 / steps as usize;
        Point {
            amount: f64::from(steps),
            server: digits(folder, runtime, STORED),
            request: ScoreRequest {
                inference: Some(inference),
                ..request(DIGIT)
            },
            images,
            units: images as f64,
        }
    });
    Kind {
        name: "Langevin steps",
        time_of: "an image",
        points: points.into(),
    }
}

fn chains(folder: &Path, runtime: &Runtime) -> Kind {
    let points = [1, 2, 4, 8, 16, 32].map(|chains| {
        let inference = InferenceParameters {
            chains: Some(chains),
            ..Default::default()
        };
        let images = CHAINS / chains as usize;
        Point {
            amount: f64::from(chains),
            server: digits(folder, runtime, STORED),
            request: ScoreRequest {
                inference: Some(inference),
                ..request(DIGIT)
            },
            images,
            units: images as f64,
        }
    });
    Kind {
        name: "chains",
        time_of: "an image",
        points: points.into(),
    }
}

fn sites(folder: &Path, runtime: &Runtime) -> Kind {
    let points = [8, 16, 24, 32].map(|side| {
        let out = folder.join(format!("sites-{side}"));
        let model = RandomSites {
            rows: side,
            columns: side,
            ..RandomSites::new(1)
        };
        random_site_bundle(&out, runtime, model).unwrap();
        let (sites, image) = (side * side, model.image());
        let images = 64 * 1024 / sites;
        Point {
            amount: sites as f64,
            server: Server::start(&out, folder, &[]),
            request: request([1, image.height, image.width]),
            images,
            units: images as f64,
        }
    });
    Kind {
        name: "sites",
        time_of: "an image",
        points: points.into(),
    }
}

fn stored_images(folder: &Path, runtime: &Runtime) -> Kind {
    let points = [4000, 8000, 16_000, 32_000].map(|stored| Point {
        amount: stored as f64,
        server: digits(folder, runtime, stored),
        request: request(DIGIT),
        images: CHAINS / 2,
        units: (CHAINS / 2) as f64,
    });
    Kind {
        name: "stored images",
        time_of: "an image",
        points: points.into(),
    }
}

/// Memory that models hold, and the time of their load.
pub fn models(folder: &Path, runtime: &Runtime) -> Growth {
    let all: Vec<_> = [1, 2, 4, 8]
        .into_iter()
        .map(|count| {
            let models = folder.join(format!("models-{count}"));
            for version in 1..=count {
                let model = RandomModel {
                    version,
                    seed: version,
                    ..benchmark_model(GeneratorName::Mlp)
                };
                random_bundle_of(&models.join(version.to_string()), runtime, model).unwrap();
            }
            let starts = (0..5).map(|_| {
                let server = Server::start(&models, folder, &[]);
                let resident = common::resident_bytes(&server) as f64 / MIB;
                (cpu_ms(&server), resident)
            });
            let least = |(time, memory): (f64, f64), (other_time, other_memory): (f64, f64)| {
                (time.min(other_time), memory.min(other_memory))
            };
            (count as f64, starts.reduce(least).unwrap())
        })
        .collect();
    let series = |pick: fn((f64, f64)) -> f64| {
        let points = all.iter().map(|(count, least)| (*count, pick(*least)));
        Series::new(points.collect())
    };
    Growth {
        kind: "models",
        time: series(|(time, _)| time),
        time_of: "of the start",
        memory: series(|(_, memory)| memory),
    }
}
