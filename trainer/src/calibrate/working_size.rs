//! The working size of photographs, where nobody names one: by faults that are drawn into normal images before anything
//! is fitted. No image of a test is looked at.

use lfbm_detector::sites::{Parts, SiteBank, SiteGrid};
use lfbm_images::{Intake, Size};
use lfbm_model::pixels::to_byte;
use rayon::prelude::*;
use tch::Device;

use super::site_rule::{best_rule, candidates, with_fault};
use crate::data::{DataArgs, Dataset, Pixels};
use crate::model::host;
use crate::representation::{evenly, fit_representation, x_of};
use crate::settings::Settings;

/// Larger sides to choose from, in pixels; time and sites grow with the square.
const LARGER: [u32; 2] = [384, 512];
/// A larger side has to find drawn faults by so much better, in AUROC, than the side that is chosen so far.
const LEAST_GAIN: f64 = 0.03;
/// With fewer images to fit, the AUROC of drawn faults is too uncertain to choose by.
const FEWEST_IMAGES: usize = 64;
/// Images that are read: a half for the memory bank, a quarter for scales, and a quarter that faults are drawn into, ...
const IMAGES: usize = 128;
/// ... so many times each.
const FAULTS_OF_AN_IMAGE: usize = 4;
/// Sites of the memory bank ...
const STORED: usize = 4000;
/// ... which are chosen among so many.
const CANDIDATES: usize = 24_000;
/// Images whose sites are compared with the memory bank at the same time.
const AT_ONCE: usize = 16;

/// The side at which drawn faults are found best by the distance of a site to its nearest normal one, or a smaller side
/// where they are found nearly as well: that of `dataset`, or one of [`LARGER`] that its files have. Faults are drawn into
/// its images `fitted` at the largest side, and resized with them.
///
/// # Errors
/// When an image cannot be read again, or a run fails.
pub fn choose_side(
    settings: &Settings,
    data: &DataArgs,
    dataset: &Dataset,
    fitted: &[usize],
) -> anyhow::Result<u32> {
    let smallest = dataset.height as u32;
    let some = evenly(fitted, IMAGES);
    let of_files = data.side_of_files(dataset, &some)?.unwrap_or(smallest);
    let representation = &settings.representation;
    let larger: Vec<u32> = LARGER
        .into_iter()
        .filter(|&side| side <= of_files && representation.may_have_side(side as usize))
        .collect();
    let Some(&largest) = larger.last() else {
        return Ok(smallest);
    };
    if fitted.len() < FEWEST_IMAGES {
        eprintln!(
            "note: the photographs are larger, and {} images to fit are too few to choose a size by; if small faults count, \
             name one: --image-size {largest}",
            fitted.len()
        );
        return Ok(smallest);
    }
    eprintln!(
        "choosing the working size, by faults drawn into {} normal images; --image-size names one",
        some.len() / 4
    );
    let drawn = Drawn::into(data.read_again(dataset, &some, largest)?)?;
    let mut chosen = (smallest, f64::NEG_INFINITY);
    for side in [&[smallest], &larger[..]].concat() {
        let found = drawn.at(side)?.auroc(settings)?;
        eprintln!("at {side} x {side} pixels, drawn faults are found with AUROC {found:.3}");
        if found >= chosen.1 + LEAST_GAIN {
            chosen = (side, found);
        }
    }
    Ok(chosen.0)
}

/// Normal images, followed by the last quarter of them with faults, each several times.
struct Drawn {
    images: Dataset,
    /// How many are normal.
    normal: usize,
}

impl Drawn {
    fn into(normal: Dataset) -> anyhow::Result<Self> {
        let n = normal.len();
        let pairs: Vec<_> = (0..FAULTS_OF_AN_IMAGE)
            .flat_map(|fault| (n - n / 4..n).map(move |image| (image, fault)))
            .collect();
        let lenders: Vec<_> = (0..n / 2).collect();
        let faulty = pairs.par_iter().map(|&(image, fault)| {
            let intensities = with_fault(&normal, &lenders, image, fault)?;
            anyhow::Ok(intensities.into_iter().map(to_byte).collect())
        });
        let faulty: Vec<Vec<u8>> = faulty.collect::<anyhow::Result<_>>()?;
        let images = normal.images.iter();
        let images = images.chain(faulty.iter().map(Vec::as_slice));
        let images = images.collect::<Vec<_>>().concat();
        Ok(Self {
            images: of_images(&normal, normal.height, images),
            normal: n,
        })
    }

    /// The same, resized.
    fn at(&self, side: u32) -> anyhow::Result<Self> {
        let from = &self.images;
        let square = |side: u32| Size {
            width: side,
            height: side,
        };
        let placement = Intake::STRETCH.placement(square(from.width as u32), square(side))?;
        let images = (0..from.len()).into_par_iter();
        let resized = images.map(|index| Ok(placement.resize(from.image(index))?));
        let resized: Vec<Vec<u8>> = resized.collect::<anyhow::Result<_>>()?;
        Ok(Self {
            images: of_images(from, side as usize, resized.concat()),
            normal: self.normal,
        })
    }

    /// How well the best rule tells the images with faults from those without.
    fn auroc(&self, settings: &Settings) -> anyhow::Result<f64> {
        let (n, images) = (self.normal, &self.images);
        let image = settings.image(images);
        let stored: Vec<usize> = (0..n / 2).collect();
        let made = fit_representation(settings, &image, images, &stored, Device::Cpu, None)?;
        let (spec, preprocess) = (&made.spec, &made.preprocess);
        let x = |indices: &[usize], most| -> anyhow::Result<Vec<f32>> {
            let x = x_of(preprocess, spec, &image, images, indices, most)?;
            Ok(host::to_host(&x).data)
        };
        let of_bank = x(&stored, CANDIDATES)?;
        let of_no_image = vec![0; of_bank.len() / spec.values];
        let bank = SiteBank::fit(&of_bank, spec.values, &of_no_image, STORED, 0)?;
        let others: Vec<usize> = (n / 2..images.len()).collect();
        let mut parts = Vec::with_capacity(others.len());
        for some in others.chunks(AT_ONCE) {
            let x = x(some, usize::MAX)?;
            let of_images = x.par_chunks(spec.sites() * spec.values);
            let of_images = of_images.map(|x| Parts {
                negative_log_joint: vec![0.0; spec.sites()],
                distance: bank.distances(x),
            });
            parts.extend(of_images.collect::<Vec<_>>());
        }
        let parts: Vec<&Parts> = parts.iter().collect();
        let (scales, shown) = parts.split_at(n - n / 4 - n / 2);
        let (normal, faulty) = shown.split_at(n / 4);
        let grid = SiteGrid {
            rows: spec.rows,
            columns: spec.columns,
        };
        let candidates = candidates(scales.len(), [0.0, 1.0]);
        Ok(best_rule(&candidates, grid, scales, normal, faulty)?.1)
    }
}

/// Squares of `side` pixels that are otherwise like the images of `like`.
fn of_images(like: &Dataset, side: usize, images: Vec<u8>) -> Dataset {
    let images = Pixels::new(images, like.channels * side * side);
    Dataset {
        name: like.name.clone(),
        channels: like.channels,
        height: side,
        width: side,
        intake: like.intake,
        classes: like.classes.clone(),
        labels: vec![0; images.len()],
        images,
        files: Vec::new(),
        inspected: Vec::new(),
    }
}
