//! Reading: a bundle is accepted whole or refused with the file's name and the reason.

use std::fs;
use std::path::{Path, PathBuf};

use lfbm_detector::{Calibration, CalibrationSummary, Comparison};
use lfbm_onnx::{Dim, decode_shapes, signature};

use crate::error::BundleError;
use crate::files::{
    CALIBRATION, DECODER, ENCODER, GRAPHS, MANIFEST, NAMES, PRIOR, WEIGHTS, graph_file,
    read_checked, valid_name, write_manifest,
};
use crate::manifest::{
    ChainStart, FORMAT_VERSION, ImageSpec, Manifest, PriorKind, PriorSampling, RepresentationSpec,
};
use crate::names::ImageNames;

const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// A sample takes them all while its caller waits.
const MAX_PRIOR_STEPS: u32 = 10_000;
/// Rows, and columns, of a grid of sites.
const MAX_GRID_SIDE: usize = 1024;
/// Values of an x: more than any image has.
const MAX_X_VALUES: usize = 3 * 4096 * 4096;

/// A bundle whose checksums, sizes, version and shapes fit.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    manifest: Manifest,
    calibration: Calibration,
    names: ImageNames,
    opaque: Vec<OpaqueGraph>,
}

/// A graph that ONNX Runtime may run, but this crate cannot read: it runs without layers of our own.
#[derive(Clone, Debug)]
pub struct OpaqueGraph {
    /// Its file, without the extension.
    pub name: String,
    /// What cannot be read.
    pub reason: String,
}

impl Bundle {
    /// Reads and checks the bundle in `dir`.
    ///
    /// # Errors
    /// [`BundleError::Io`] and [`BundleError::Invalid`] name the first file that is missing or
    /// does not fit, and why.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        let manifest = read_manifest(&dir.join(MANIFEST))?;
        let encoder = (manifest.chain_start == ChainStart::Encoder).then_some(ENCODER);
        let required = GRAPHS
            .into_iter()
            .chain(encoder)
            .chain(manifest.prior_sampling.map(|_| PRIOR))
            .map(graph_file)
            .chain([WEIGHTS, CALIBRATION].map(str::to_owned));
        for name in required {
            if !manifest.files.contains_key(&name) {
                let reason = format!("the file {name} is not listed, and a bundle needs it");
                return Err(BundleError::invalid(&dir.join(MANIFEST), reason));
            }
        }
        let mut calibration = None;
        let mut names = ImageNames::default();
        let mut opaque = Vec::new();
        for (name, entry) in &manifest.files {
            if !valid_name(name) {
                let reason = format!("the file name {name:?} leaves the bundle");
                return Err(BundleError::invalid(&dir.join(MANIFEST), reason));
            }
            let path = dir.join(name);
            let bytes = read_checked(&path, entry)?;
            if let Some(graph) = name.strip_suffix(".onnx") {
                check_signature(&path, graph, &bytes, &manifest)?;
                if let Err(error) = decode_shapes(&bytes) {
                    opaque.push(OpaqueGraph {
                        name: graph.to_owned(),
                        reason: error.to_string(),
                    });
                }
            }
            if name == NAMES {
                names = ImageNames::decode(&bytes)
                    .map_err(|reason| BundleError::invalid(&path, reason))?;
            }
            if name == CALIBRATION {
                calibration = Some(read_calibration(&path, &bytes, &manifest)?);
            }
        }
        let calibration = calibration
            .ok_or_else(|| BundleError::invalid(&dir.join(CALIBRATION), "it is missing"))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            manifest,
            calibration,
            names,
            opaque,
        })
    }

    /// The content of a file that the manifest of the bundle in `dir` lists; `None` when it lists none
    /// of that name.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what the manifest says.
    pub fn read_file(
        dir: &Path,
        manifest: &Manifest,
        name: &str,
    ) -> Result<Option<Vec<u8>>, BundleError> {
        let entry = manifest.files.get(name);
        entry
            .map(|entry| read_checked(&dir.join(name), entry))
            .transpose()
    }

    /// The graphs that run without layers of our own, and so more slowly.
    pub fn opaque_graphs(&self) -> &[OpaqueGraph] {
        &self.opaque
    }

    /// The bundle's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same, once its folder has been moved.
    pub(crate) fn moved_to(self, dir: PathBuf) -> Self {
        Self { dir, ..self }
    }

    /// What the bundle is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What scores normal images get.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The files that the images of its memory bank came from; of none where the fit kept no names.
    pub fn names(&self) -> &ImageNames {
        &self.names
    }

    /// Writes a summary of an evaluation into the manifest, in one step.
    ///
    /// # Errors
    /// When the manifest cannot be written.
    pub fn set_evaluation(&mut self, evaluation: serde_json::Value) -> Result<(), BundleError> {
        self.manifest.evaluation = evaluation;
        write_manifest(&self.dir, &self.manifest)
    }
}

pub(crate) fn read_manifest(path: &Path) -> Result<Manifest, BundleError> {
    parse_manifest(&read_text(path)?).map_err(|reason| BundleError::invalid(path, reason))
}

fn read_text(path: &Path) -> Result<Vec<u8>, BundleError> {
    let size = fs::metadata(path).map_err(BundleError::io(path))?.len();
    if size > MAX_MANIFEST_BYTES {
        return Err(BundleError::invalid(
            path,
            format!("{size} bytes are too many for a manifest"),
        ));
    }
    fs::read(path).map_err(BundleError::io(path))
}

/// Reads and checks the text of a `manifest.json`.
///
/// # Errors
/// Why it is none, in a sentence.
pub fn parse_manifest(text: &[u8]) -> Result<Manifest, String> {
    let json: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    // The version first: another one may have other fields.
    let version = json
        .get("format_version")
        .and_then(serde_json::Value::as_u64);
    if version != Some(FORMAT_VERSION.into()) {
        let got = version.map_or("none".to_owned(), |version| version.to_string());
        return Err(format!(
            "format version {FORMAT_VERSION} is expected, it has {got}; fit or export the model again \
             with a trainer of this version"
        ));
    }
    let mut manifest: Manifest = serde_json::from_value(json).map_err(|error| error.to_string())?;
    manifest.langevin = manifest.langevin.normalized();
    check_model(&manifest)?;
    check_verdict(&manifest.calibration)?;
    Ok(manifest)
}

/// Checks that a bundle may be of such images and such x of them.
///
/// # Errors
/// Why it may not.
pub fn check_x(image: &ImageSpec, representation: &RepresentationSpec) -> Result<(), BundleError> {
    misfit_of_x(image, representation).map_err(BundleError::Spec)
}

fn misfit_of_x(image: &ImageSpec, representation: &RepresentationSpec) -> Result<(), String> {
    let [low, high] = image.value_range;
    let within = |size: usize, most: usize| (1..=most).contains(&size);
    all_hold(&[
        (
            matches!(image.channels, 1 | 3),
            "the image has neither 1 nor 3 channels",
        ),
        (
            (1..=4096).contains(&image.height),
            "the image's height is not within 1 and 4096",
        ),
        (
            (1..=4096).contains(&image.width),
            "the image's width is not within 1 and 4096",
        ),
        (
            within(representation.rows, MAX_GRID_SIDE)
                && within(representation.columns, MAX_GRID_SIDE)
                && within(representation.values, MAX_X_VALUES),
            "the representation has no site, no value, or too many: 1 to 1024 rows and columns of sites are expected",
        ),
        (
            !representation.is_whole_image() || representation.values == image.pixels(),
            "the representation has another number of values than the image",
        ),
        (
            low.is_finite() && high.is_finite() && low < high,
            "the value range is empty",
        ),
    ])
}

/// Checks what a manifest says of the model, which is known before the calibration.
pub(crate) fn check_model(manifest: &Manifest) -> Result<(), String> {
    misfit_of_x(&manifest.image, &manifest.representation)?;
    all_hold(&[
        (
            valid_name(&manifest.name),
            "the name is not 1 to 64 letters, digits, '-', '_' or '.'",
        ),
        (
            manifest.version > 0,
            "the version is zero, by which requests mean the highest",
        ),
        (
            (1..=65_536).contains(&manifest.latent_dim),
            "the latent's size is not within 1 and 65536",
        ),
        (
            manifest.sigma.is_finite() && manifest.sigma > 0.0,
            "sigma is not positive",
        ),
        (
            manifest.langevin.step_size.is_finite() && manifest.langevin.step_size > 0.0,
            "the step size is not positive",
        ),
        (manifest.langevin.chains > 0, "the number of chains is zero"),
        (
            !manifest.has_decoder()
                || manifest.sites() == 1 && !manifest.representation.is_whole_image(),
            "decoder.onnx is for features of the whole image; x are its pixels, or images have several sites",
        ),
        (
            match manifest.prior_sampling {
                Some(PriorSampling { steps, step_size }) => {
                    manifest.prior == PriorKind::Ebm
                        && (1..=MAX_PRIOR_STEPS).contains(&steps)
                        && step_size.is_finite()
                        && step_size > 0.0
                }
                None => manifest.prior != PriorKind::Ebm,
            },
            "an ebm prior, and no other, needs prior_sampling with 1 to 10000 steps of positive \
             size",
        ),
    ])
}

fn check_verdict(calibration: &CalibrationSummary) -> Result<(), String> {
    all_hold(&[
        (
            calibration.deciding_threshold().is_some(),
            "the score that decides has no threshold",
        ),
        (
            (0.0..1.0).contains(&calibration.false_positive_rate)
                && calibration.false_positive_rate > 0.0,
            "the false-positive rate is not above 0 and below 1",
        ),
    ])
}

/// The reason of the first check that does not hold.
fn all_hold(checks: &[(bool, &str)]) -> Result<(), String> {
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, reason)) => Err((*reason).to_owned()),
        None => Ok(()),
    }
}

fn read_calibration(
    path: &Path,
    bytes: &[u8],
    manifest: &Manifest,
) -> Result<Calibration, BundleError> {
    let calibration = Calibration::decode(bytes)
        .map_err(|error| BundleError::invalid(path, error.to_string()))?;
    let representation = &manifest.representation;
    // Rows, columns and values of the sites that are compared; C, H, W of a whole image.
    let (whole, sizes) = match calibration.comparison() {
        Comparison::Local(local) => (true, local.memory_bank().image()),
        Comparison::Sites(sites) => {
            let grid = sites.scorer().grid();
            (false, [grid.rows, grid.columns, sites.bank().values()])
        }
    };
    let expected_sizes = if representation.is_whole_image() {
        manifest.image.shape()
    } else {
        let RepresentationSpec {
            rows,
            columns,
            values,
            ..
        } = *representation;
        [rows, columns, values]
    };
    if whole != representation.is_whole_image() {
        let kind = |whole| {
            if whole {
                "whole images"
            } else {
                "the sites of images"
            }
        };
        let reason = format!(
            "it compares {}, the manifest is of a model of {}",
            kind(whole),
            kind(!whole)
        );
        return Err(BundleError::invalid(path, reason));
    }
    let got = (calibration.len(), sizes);
    let expected = (manifest.calibration.count, expected_sizes);
    if got != expected {
        let reason = format!(
            "it is of {} images of {:?} values, the manifest says {} of {:?}",
            got.0, got.1, expected.0, expected.1
        );
        return Err(BundleError::invalid(path, reason));
    }
    let summary = &manifest.calibration;
    let computed = calibration.summary(summary.false_positive_rate, summary.decision);
    if !agree(thresholds(summary), thresholds(&computed)) {
        let reason = format!(
            "its thresholds for a false-alarm rate of {} are {:?} (log-joint, local score, site score, map), the \
             manifest says {:?}; for another rate run `trainer calibrate`",
            summary.false_positive_rate,
            thresholds(&computed),
            thresholds(summary)
        );
        return Err(BundleError::invalid(path, reason));
    }
    let langevin = &manifest.langevin;
    if !calibration.fits(langevin.aggregation, langevin.chains) {
        let reason =
            "it lacks the log-joints, which are no sums for several chains under log_mean_exp";
        return Err(BundleError::invalid(path, reason));
    }
    Ok(calibration)
}

fn thresholds(summary: &CalibrationSummary) -> [Option<f64>; 4] {
    [
        Some(summary.threshold_log_joint),
        summary.threshold_local_score,
        summary.threshold_site_score,
        summary.map_threshold,
    ]
}

/// Whether numbers are equal but for what writing and reading a decimal fraction changes.
fn agree(stored: [Option<f64>; 4], computed: [Option<f64>; 4]) -> bool {
    let agrees = |(stored, computed): (&Option<f64>, &Option<f64>)| match (stored, computed) {
        (Some(stored), Some(computed)) => {
            (stored - computed).abs() <= 1e-9 * computed.abs().max(1.0)
        }
        (stored, computed) => stored == computed,
    };
    stored.iter().zip(&computed).all(agrees)
}

type Port = (&'static str, Vec<Dim>);

/// Inputs and outputs that a graph of a bundle must have.
fn expected_signature(graph: &str, manifest: &Manifest) -> Option<(Vec<Port>, Vec<Port>)> {
    let rows = vec![Dim::Batch];
    let latent = vec![Dim::Batch, Dim::Fixed(manifest.latent_dim)];
    let rows_of = |sizes: &[usize]| {
        let sizes = sizes.iter().copied().map(Dim::Fixed);
        [Dim::Batch].into_iter().chain(sizes).collect::<Vec<_>>()
    };
    let image = &manifest.image;
    let images = rows_of(&[image.channels, image.height, image.width]);
    let [channels, height, width] = manifest.x_shape();
    let x = rows_of(&[channels, height, width]);
    let mask = rows_of(&[1, height, width]);
    let x_of_images = if manifest.representation.is_whole_image() {
        x.clone()
    } else {
        rows_of(&[manifest.sites(), channels])
    };
    let (inputs, outputs) = match graph {
        "preprocess" => (vec![("image", images)], vec![("x", x_of_images)]),
        DECODER => (vec![("z", latent)], vec![("pixels", images)]),
        "generator" => (vec![("z", latent)], vec![("x", x)]),
        "flow" => (
            vec![("z", latent.clone())],
            vec![("z0", latent), ("log_prob", rows)],
        ),
        PRIOR if manifest.prior == PriorKind::Ebm => (
            vec![
                ("z", latent.clone()),
                ("noise", latent.clone()),
                ("step_size", rows),
            ],
            vec![("z_next", latent)],
        ),
        PRIOR => (vec![("z0", latent.clone())], vec![("z", latent)]),
        ENCODER => (
            vec![("x", x), ("noise", latent.clone())],
            vec![("z", latent)],
        ),
        "posterior" => (
            vec![
                ("z", latent.clone()),
                ("x", x.clone()),
                ("mask", mask),
                ("noise", latent.clone()),
                ("step_size", rows.clone()),
                ("noise_scale", rows.clone()),
            ],
            vec![
                ("z_next", latent),
                ("log_prior", rows.clone()),
                ("log_likelihood", rows),
                ("reconstruction", x),
            ],
        ),
        _ => return None,
    };
    Some((inputs, outputs))
}

fn check_signature(
    path: &Path,
    graph: &str,
    bytes: &[u8],
    manifest: &Manifest,
) -> Result<(), BundleError> {
    let signature = signature(bytes).map_err(BundleError::decode(path))?;
    let Some((inputs, outputs)) = expected_signature(graph, manifest) else {
        return Ok(());
    };
    for (kind, expected, got) in [
        ("input", inputs, signature.inputs),
        ("output", outputs, signature.outputs),
    ] {
        for (name, shape) in expected {
            let found = got.iter().find(|(present, _)| present == name);
            if found.is_none_or(|(_, value_type)| value_type.shape != shape) {
                let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
                let reason = format!(
                    "the manifest needs the {kind} {name}: [{}]",
                    sizes.join(", ")
                );
                return Err(BundleError::invalid(path, reason));
            }
        }
    }
    Ok(())
}
