//! `trainer draw`: images to try a server with, or a data set to try a fit with.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use image::{DynamicImage, GrayImage, RgbImage};
use lfbm_bundle::Bundle;
use lfbm_images::Size;
use lfbm_model::pixels::to_byte;
use lfbm_runtime::{Inference, Runtime, SessionOptions};

use crate::data::{cloth, mnist, strokes};
use crate::evaluate::shown;
use crate::output::{OutputFolder, write_png};
use crate::representation::check_makes_images;

/// Arguments of `trainer draw`.
#[derive(Args, Clone, Debug)]
pub struct DrawArgs {
    /// Sample this bundle's prior
    #[arg(long, group = "what", required = true)]
    bundle: Option<PathBuf>,
    /// Draw this digit by the procedure of the data set strokes
    #[arg(long, group = "what", value_parser = clap::value_parser!(u8).range(0..=9))]
    digit: Option<u8>,
    /// Draw the data set strokes as the four IDX files that `--dataset mnist` reads
    #[arg(long, group = "what")]
    idx: bool,
    /// Draw an inspection data set of woven cloth: COUNT normal images to fit in train/good, a quarter as
    /// many to test in test/good, and a sixteenth as many with each kind of fault (thread, hole, knot,
    /// stain, mispick) in test/FAULT, with masks in ground_truth/FAULT
    #[arg(long, group = "what")]
    cloth: bool,
    /// Pixels of an image of cloth, WIDTHxHEIGHT; the shorter side shows the same number of threads in
    /// any size
    #[arg(long, default_value = "256x256", value_parser = size, requires = "cloth")]
    cloth_size: Size,
    /// The number of images
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// The seed of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder for the files
    #[arg(long)]
    out: PathBuf,
}

/// Values of images of a model that are in memory at the same time.
const MOST_VALUES: usize = 1 << 28;

/// Sides of an image of cloth, in pixels.
const SIDES: RangeInclusive<u32> = 32..=4096;

/// WIDTHxHEIGHT as a size.
fn size(text: &str) -> Result<Size, String> {
    let sides = text.split_once('x').and_then(|(width, height)| {
        let side = |text: &str| text.parse().ok().filter(|side| SIDES.contains(side));
        Some(Size {
            width: side(width)?,
            height: side(height)?,
        })
    });
    sides.ok_or_else(|| {
        let (least, most) = (SIDES.start(), SIDES.end());
        format!("expected WIDTHxHEIGHT, such as 640x480, each from {least} to {most}")
    })
}

/// Writes the images.
///
/// # Errors
/// When the bundle cannot be opened or the disk fails.
pub fn run(args: &DrawArgs) -> anyhow::Result<()> {
    let count = args.count as usize;
    for name in taken_by(args) {
        let path = args.out.join(name);
        ensure!(
            !path.exists(),
            "{} is there; name a folder without a data set with --out",
            path.display()
        );
    }
    let out = OutputFolder::prepare(&args.out)?;
    if let Some(digit) = args.digit {
        for index in 0..count {
            let side = strokes::SIDE as u32;
            let bytes = strokes::draw(digit, args.seed.wrapping_add(index as u64));
            save(
                &out.file(&format!("strokes-{digit}-{index}.png")),
                1,
                side,
                side,
                bytes,
            )?;
        }
    }
    if args.idx {
        mnist::write_idx(&args.out, &strokes::dataset(count, args.seed))?;
    }
    if args.cloth {
        cloth::write_set(&out.file(""), count, args.cloth_size, args.seed)?;
    }
    if let Some(path) = &args.bundle {
        let bundle = Bundle::open(path)?;
        check_makes_images(bundle.manifest(), "draw", false)?;
        let image = bundle.manifest().image;
        ensure!(
            count.saturating_mul(image.pixels()) <= MOST_VALUES,
            "{count} images of {} values are more than are drawn at once; give a --count up to {}, and other --seed \
             for more",
            image.pixels(),
            MOST_VALUES / image.pixels()
        );
        let runtime = Runtime::load(None)?;
        let options = SessionOptions::default();
        let mut inference = Inference::open(&runtime, bundle.dir(), bundle.manifest(), &options)?;
        let samples = inference.sample_prior(count, args.seed)?;
        for (index, sample) in samples.chunks(image.pixels()).enumerate() {
            let intensity = shown(&image, sample);
            let byte = |position: usize, channel: usize| {
                to_byte(intensity[channel * image.positions() + position])
            };
            let bytes = (0..image.positions())
                .flat_map(|position| (0..image.channels).map(move |channel| (position, channel)))
                .map(|(position, channel)| byte(position, channel))
                .collect();
            let file = out.file(&format!("model-{index}.png"));
            save(
                &file,
                image.channels,
                image.width as u32,
                image.height as u32,
                bytes,
            )?;
        }
    }
    out.publish()?;
    Ok(())
}

/// Names in the folder for the files that a data set would be mixed up with, or that it would take precedence over.
fn taken_by(args: &DrawArgs) -> Vec<String> {
    if args.idx {
        mnist::file_names()
    } else if args.cloth {
        ["train", "test", "ground_truth"].map(str::to_owned).into()
    } else {
        Vec::new()
    }
}

fn save(
    path: &Path,
    channels: usize,
    width: u32,
    height: u32,
    bytes: Vec<u8>,
) -> anyhow::Result<()> {
    let picture = if channels == 1 {
        GrayImage::from_raw(width, height, bytes).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, bytes).map(DynamicImage::from)
    };
    write_png(path, picture.context("the image's size does not fit")?)?;
    Ok(())
}
