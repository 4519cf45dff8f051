//! How time and memory grow: the CPU time of an image and the peak of memory against images, Langevin
//! steps, chains, sites and stored images, and against models. Every point is a server process of its own; the
//! points of a kind take turns, and the shortest of their rounds counts, so that what else the machine does
//! meets all of them. Beside each kind stands the straight line through its points, and how far the points
//! are from it. Writes target/growth.svg.

#![allow(clippy::unwrap_used, missing_docs)]

mod chart;
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../load/mod.rs"]
mod load;
mod workload;

use std::path::Path;

use lfbm_runtime::Runtime;

use self::chart::draw;
use self::workload::{Kind, kinds, models};

/// Of every point; the shortest counts.
const ROUNDS: usize = 12;

/// Costs against an amount, and the line nearest to them.
pub struct Series {
    pub points: Vec<(f64, f64)>,
    /// Cost at nought, and of each unit.
    pub line: (f64, f64),
}

impl Series {
    /// Least squares of the relative error, so that small amounts weigh as much as large ones.
    fn new(points: Vec<(f64, f64)>) -> Self {
        let (mut w, mut wx, mut wxx, mut wy, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(x, y) in &points {
            let weight = 1.0 / (y * y);
            w += weight;
            wx += weight * x;
            wxx += weight * x * x;
            wy += weight * y;
            wxy += weight * x * y;
        }
        let slope = (w * wxy - wx * wy) / (w * wxx - wx * wx);
        Self {
            points,
            line: ((wy - slope * wx) / w, slope),
        }
    }

    pub fn at(&self, amount: f64) -> f64 {
        self.line.0 + self.line.1 * amount
    }

    /// The largest distance of a point from the line, as a share of the point.
    pub fn deviation(&self) -> f64 {
        let distance = |(x, y): &(f64, f64)| (self.at(*x) / y - 1.0).abs();
        self.points.iter().map(distance).fold(0.0, f64::max)
    }
}

/// What a kind's points cost.
pub struct Growth {
    pub kind: &'static str,
    /// Milliseconds of CPU time.
    pub time: Series,
    /// What the time is of.
    pub time_of: &'static str,
    /// MiB.
    pub memory: Series,
}

/// Lets the points take turns.
fn measure(kind: Kind) -> Growth {
    let mut times = vec![f64::INFINITY; kind.points.len()];
    for round in 0..=ROUNDS {
        for (point, least) in kind.points.iter().zip(&mut times) {
            let time = point.cpu_ms_per_unit();
            // The first round warms up.
            if round > 0 {
                *least = least.min(time);
            }
        }
    }
    let amounts = kind.points.iter().map(|point| point.amount);
    let memory = kind.points.iter().map(|point| point.peak_mib());
    Growth {
        kind: kind.name,
        time: Series::new(amounts.clone().zip(times).collect()),
        time_of: kind.time_of,
        memory: Series::new(amounts.zip(memory).collect()),
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let mut all = Vec::new();
    for kind in kinds() {
        all.push(measure(kind(folder.path(), &runtime)));
        print(all.last().unwrap());
    }
    all.push(models(folder.path(), &runtime));
    print(all.last().unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/growth.svg");
    draw(&path, &all).unwrap();
    println!("wrote {}", path.display());
}

fn print(growth: &Growth) {
    let of = [
        (&growth.time, format!("ms of CPU time {}", growth.time_of)),
        (&growth.memory, "MiB at most".to_owned()),
    ];
    for (series, unit) in of {
        let points = series.points.iter();
        let points: Vec<_> = points
            .map(|(amount, cost)| format!("{amount}: {cost:.3}"))
            .collect();
        let (start, slope) = series.line;
        println!(
            "{}: {} {unit}; line {start:.3} + {slope:.3e} each, at most {:.1} % off",
            growth.kind,
            points.join(", "),
            100.0 * series.deviation()
        );
    }
}
