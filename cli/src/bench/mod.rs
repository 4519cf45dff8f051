//! `lfbm bench`.

mod arrivals;
mod capacity;
mod codec;
mod latency;
mod load;
mod measurement;
mod report;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_wire::image::Content;
use lfbm_wire::{DataType, Image, ImageSpec, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Exp;
use tonic::client::Grpc;

use self::capacity::Capacity;
use self::load::{Load, Pace, Requests};
use crate::connection::{Connector, seconds};
use crate::inference::InferenceArgs;
use crate::inputs::{Images, encoded};
use crate::output::print_line;
use crate::stop::Stop;

/// Images of random pixels, when none are named.
const RANDOM_IMAGES: usize = 64;

const EXAMPLES: &str = "\
Examples:
  lfbm bench --concurrency 64                  what does it give at most?
  lfbm bench --rate 200 --duration-s 60        how long do requests take at this load?
  lfbm bench --find-capacity --json            the highest throughput, for scripts

Latency counts from the time when a request was due, so a server that stalls cannot hide it.
Ctrl-C and SIGTERM stop with what was measured so far, which is success if a request succeeded.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// Image files or folders of them, to be scored in turn; none for random pixels
    images: Vec<PathBuf>,
    /// Closed loop: requests that are under way at any time
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    concurrency: usize,
    /// Open loop: requests a second, at random times (Poisson), whatever is outstanding
    #[arg(long, conflicts_with = "concurrency")]
    rate: Option<f64>,
    /// Closed loops with 1, 2, 4, ... at once, until throughput stops growing
    #[arg(long, conflicts_with_all = ["concurrency", "rate", "bulk_share"])]
    find_capacity: bool,
    /// Seconds that are measured, for each load
    #[arg(long, default_value = "10", value_parser = above_zero)]
    duration_s: Duration,
    /// Seconds of warm-up before the measurement, for each load
    #[arg(long, default_value_t = 2.0)]
    warmup_s: f64,
    /// Connections that share the requests
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    connections: usize,
    /// Open loop: requests under way at most; those due beyond are counted, not sent
    #[arg(long, default_value_t = 20_000, value_parser = at_least_one)]
    max_outstanding: usize,
    /// The share of requests of bulk priority; the others are interactive
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    bulk_share: f64,
    /// Decides arrival times, priorities and random pixels
    #[arg(long, default_value_t = 0)]
    load_seed: u64,
    /// One JSON object; durations are seconds
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    inference: InferenceArgs,
}

pub(crate) async fn run(
    connector: &Connector,
    args: &BenchArgs,
    stop: &Stop,
) -> anyhow::Result<()> {
    let load = stop.or(load(connector, args)).await?;
    let stop = pin!(stop.comes());
    if args.find_capacity {
        let capacity = Capacity::find(&load, stop).await?;
        return if args.json {
            Ok(print_line(capacity.json())?)
        } else {
            Ok(print_line(capacity.text())?)
        };
    }
    let measurement = load.run(pace(args)?, stop).await?;
    ensure!(
        measurement.duration() > Duration::ZERO,
        "stopped during the warm-up: nothing was measured"
    );
    if args.json {
        print_line(report::json(args, &measurement))?;
    } else {
        print_line(report::text(args, &measurement))?;
    }
    ensure!(
        measurement.goodput_per_s() > 0.0,
        "no request succeeded in the time that was measured"
    );
    Ok(())
}

fn pace(args: &BenchArgs) -> anyhow::Result<Pace> {
    let Some(rate) = args.rate else {
        return Ok(Pace::Closed {
            concurrency: args.concurrency,
        });
    };
    ensure!(
        rate.is_finite() && rate > 0.0,
        "--rate: expected requests per second, above 0, got {rate}"
    );
    Ok(Pace::Open {
        per_s: Exp::new(rate)?,
    })
}

async fn load(connector: &Connector, args: &BenchArgs) -> anyhow::Result<Load> {
    let images = if args.images.is_empty() {
        random_images(connector, args).await?
    } else {
        read_images(&args.images).await?
    };
    let mut connections = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        let connection = Grpc::new(connector.connect().await?);
        connections.push(match connector.compression() {
            Some(encoding) => connection.send_compressed(encoding),
            None => connection,
        });
    }
    Ok(Load {
        connections,
        requests: Requests::encode(&images, |image, priority| {
            args.inference.score_request(image, priority)
        }),
        bulk_share: args.bulk_share,
        seed: args.load_seed,
        warmup: seconds("--warmup-s", args.warmup_s)?,
        duration: args.duration_s,
        max_outstanding: args.max_outstanding,
    })
}

async fn read_images(named: &[PathBuf]) -> anyhow::Result<Vec<Image>> {
    let images = Images::find(named).await?;
    let mut read = Vec::with_capacity(images.names.len());
    for name in &images.names {
        let file = images.read(name).await;
        read.push(encoded(file.with_context(|| name.display().to_string())?));
    }
    Ok(read)
}

async fn random_images(connector: &Connector, args: &BenchArgs) -> anyhow::Result<Vec<Image>> {
    let client = connector.detector().await?;
    let model = args.inference.get_model(client).await?;
    let ImageSpec {
        channels,
        height,
        width,
    } = model.image.context("the server names no image size")?;
    let mut rng = StdRng::seed_from_u64(args.load_seed);
    let images = (0..RANDOM_IMAGES).map(|_| {
        let mut data = vec![0; channels as usize * height as usize * width as usize];
        rng.fill(&mut data[..]);
        Image {
            content: Some(Content::Tensor(Tensor {
                data_type: DataType::Uint8.into(),
                shape: vec![channels.into(), height.into(), width.into()],
                data,
            })),
        }
    });
    Ok(images.collect())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn above_zero(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or("expected a number of seconds above 0")
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}
