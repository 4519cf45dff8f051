//! Writing: everything goes to a temporary folder beside the target, which is renamed last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lfbm_atomic_files::{ScratchDir, changing, folder_of, write_whole};
use lfbm_detector::Calibration;
use lfbm_model::{ForwardGraphs, posterior_graph};
use lfbm_onnx::{ExternalData, Graph, encode};

use crate::error::BundleError;
use crate::files::{
    CALIBRATION, DECODER, MANIFEST, NAMES, WEIGHTS, graph_file, read_checked, sha256_hex,
    valid_name, write_manifest,
};
use crate::manifest::{
    CalibrationSummary, ChainStart, Classes, Decision, FORMAT_VERSION, FileEntry, ImageSpec,
    Langevin, Manifest, PriorKind, PriorSampling, RepresentationSpec,
};
use crate::names::ImageNames;
use crate::reader::{Bundle, check_model, read_manifest};

/// What a bundle's manifest says that does not follow from its files.
#[derive(Clone, Debug)]
pub struct BundleSpec {
    /// The model's name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The model's version.
    pub version: u64,
    /// The images it scores.
    pub image: ImageSpec,
    /// What x is, and the sites that an image has.
    pub representation: RepresentationSpec,
    /// Size d of the latent.
    pub latent_dim: usize,
    /// Standard deviation of a value of x around the generator's.
    pub sigma: f32,
    /// Kind of prior.
    pub prior: PriorKind,
    /// How it is sampled, if it is an energy.
    pub prior_sampling: Option<PriorSampling>,
    /// Name of the generator's architecture.
    pub generator: String,
    /// Default inference parameters.
    pub langevin: Langevin,
    /// Which classes were fitted.
    pub classes: Classes,
    /// The training record; null for none.
    pub training: serde_json::Value,
}

/// Where a bundle for `out` goes, which is where a link points to: checked and tried, so that a long
/// fit fails at its start. The folder that it is to be in is made.
///
/// # Errors
/// When something is there that `overwrite` does not allow to replace, or nothing can be written.
pub fn check_out(out: &Path, overwrite: bool) -> Result<PathBuf, BundleError> {
    let out = may_replace(out, overwrite)?;
    let parent = folder_of(&out);
    fs::create_dir_all(parent)
        .and_then(|()| ScratchDir::new_in(parent, TEMPORARY))
        .map_err(|source| BundleError::Unwritable {
            path: parent.to_path_buf(),
            source,
        })?;
    Ok(out)
}

/// What is at `out`, or at its other end if it is a link, may be replaced by a bundle.
fn may_replace(out: &Path, overwrite: bool) -> Result<PathBuf, BundleError> {
    let taken = |reason| {
        Err(BundleError::Taken {
            path: out.to_path_buf(),
            reason,
        })
    };
    if out.file_name().is_none() {
        return taken("is no name for a new folder; add one, as in ./NAME");
    }
    match fs::symlink_metadata(out) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(out.to_path_buf());
        }
        // A name that is too long, for one.
        Err(source) => {
            return Err(BundleError::Unwritable {
                path: out.to_path_buf(),
                source,
            });
        }
        Ok(_) => {}
    }
    let Ok(target) = out.canonicalize() else {
        return taken("is a link to a place that is not there; make that or name another folder");
    };
    let is_bundle = target.join(MANIFEST).is_file();
    let is_empty =
        target.is_dir() && fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_none());
    match (is_bundle, is_empty, overwrite) {
        (false, true, _) | (true, _, true) => {}
        (true, _, false) => {
            return taken(
                "holds a bundle already; replace it with --overwrite, or name another folder",
            );
        }
        (false, ..) => {
            return taken("exists and is no bundle, so it is not replaced; name another folder");
        }
    }
    if is_mount_point(&target) {
        return taken("is a mount point, which cannot be replaced; name a folder in it");
    }
    Ok(target)
}

/// Whether another file system begins at the folder.
fn is_mount_point(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    match (device(folder), device(folder_of(folder))) {
        (Ok(folder), Ok(parent)) => folder != parent,
        _ => false,
    }
}

/// What the names of temporary folders begin with.
const TEMPORARY: &str = ".lfbm-bundle-";

/// Stands in a staged manifest until there is a calibration.
const UNCALIBRATED: CalibrationSummary = CalibrationSummary {
    count: 0,
    ranked_images: None,
    quantiles: Vec::new(),
    threshold_log_joint: 0.0,
    threshold_local_score: Some(0.0),
    threshold_site_score: None,
    map_threshold: None,
    decision: Decision::LogJoint,
    false_positive_rate: 0.0,
};

/// A bundle in a temporary folder, complete but for its calibration. It is removed when dropped.
pub struct StagedBundle {
    out: PathBuf,
    overwrite: bool,
    folder: ScratchDir,
    manifest: Manifest,
}

impl StagedBundle {
    /// Writes the graphs, and `posterior.onnx` which is derived from them, beside `out`.
    ///
    /// # Errors
    /// When `out` may not be replaced, the manifest would be refused, the graphs do not fit the image, or the disk fails.
    pub fn stage(
        out: &Path,
        spec: BundleSpec,
        graphs: &ForwardGraphs,
        overwrite: bool,
    ) -> Result<Self, BundleError> {
        let out = check_out(out, overwrite)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a date for people; nothing is timed by it"
        )]
        let now = SystemTime::now();
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            name: spec.name,
            version: spec.version,
            created: humantime::format_rfc3339_seconds(now).to_string(),
            image: spec.image,
            representation: spec.representation,
            latent_dim: spec.latent_dim,
            sigma: spec.sigma,
            prior: spec.prior,
            prior_sampling: spec.prior_sampling,
            generator: spec.generator,
            langevin: spec.langevin.normalized(),
            chain_start: match graphs.encoder {
                None => ChainStart::StandardNormal,
                Some(_) => ChainStart::Encoder,
            },
            classes: spec.classes,
            training: spec.training,
            evaluation: serde_json::Value::Null,
            calibration: UNCALIBRATED,
            files: BTreeMap::new(),
        };
        check_model(&manifest).map_err(BundleError::Spec)?;
        let posterior = posterior_graph(
            &graphs.generator,
            &graphs.flow,
            manifest.x_shape(),
            manifest.latent_dim,
            manifest.sigma,
        )?;
        let folder = folder_beside(&out)?;
        let mut staged = Self {
            out,
            overwrite,
            folder,
            manifest,
        };
        let mut weights = ExternalData::new(WEIGHTS);
        let graphs = [
            Some(&graphs.preprocess),
            Some(&graphs.generator),
            Some(&graphs.flow),
            graphs.prior.as_ref(),
            graphs.encoder.as_ref(),
            Some(&posterior),
        ];
        for graph in graphs.into_iter().flatten() {
            let bytes = encode(graph, Some(&mut weights))?;
            staged.write(&graph_file(graph.name()), &bytes)?;
        }
        staged.write(WEIGHTS, weights.bytes())?;
        Ok(staged)
    }

    /// Adds the graph that makes pixels of latents; its weights join those of the other graphs.
    ///
    /// # Errors
    /// When it cannot be encoded, or the disk fails.
    pub fn write_decoder(&mut self, decoder: &Graph) -> Result<(), BundleError> {
        let path = self.folder.path().join(WEIGHTS);
        let before = fs::read(&path).map_err(BundleError::io(&path))?;
        let mut weights = ExternalData::continued(WEIGHTS, before);
        let bytes = encode(decoder, Some(&mut weights))?;
        self.write(WEIGHTS, weights.bytes())?;
        self.write(&graph_file(DECODER), &bytes)
    }

    /// Takes graphs and weights over from a bundle, to calibrate them anew.
    ///
    /// # Errors
    /// When the bundle's manifest or files do not fit, `out` may not be replaced, or the disk
    /// fails.
    pub fn of_bundle(bundle: &Path, out: &Path, overwrite: bool) -> Result<Self, BundleError> {
        let out = check_out(out, overwrite)?;
        let manifest = Manifest {
            calibration: UNCALIBRATED,
            evaluation: serde_json::Value::Null,
            ..read_manifest(&bundle.join(MANIFEST))?
        };
        let folder = folder_beside(&out)?;
        let mut staged = Self {
            out,
            overwrite,
            folder,
            manifest,
        };
        let files = std::mem::take(&mut staged.manifest.files);
        for (name, entry) in files.iter().filter(|(name, _)| *name != CALIBRATION) {
            if !valid_name(name) {
                let reason = format!("the file name {name:?} leaves the bundle");
                return Err(BundleError::invalid(&bundle.join(MANIFEST), reason));
            }
            staged.write(name, &read_checked(&bundle.join(name), entry)?)?;
        }
        Ok(staged)
    }

    /// What the bundle will be.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Makes it another version of the model.
    pub fn set_version(&mut self, version: u64) {
        self.manifest.version = version;
    }

    /// Replaces the training record.
    pub fn set_training(&mut self, training: serde_json::Value) {
        self.manifest.training = training;
    }

    /// Where the graphs are, so that whoever stages the bundle can run them on the calibration images.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Adds the calibration and puts the bundle in its place. `false_positive_rate` is the share
    /// of normal images that the verdict, made by the score `decision`, calls anomalous.
    ///
    /// # Errors
    /// When there are too few calibration images for the rate, the bundle could not be read, or the disk fails. What
    /// was there before stays then.
    pub fn finish(
        mut self,
        calibration: &Calibration,
        false_positive_rate: f64,
        decision: Decision,
    ) -> Result<Bundle, BundleError> {
        self.manifest.calibration = calibration.summary(false_positive_rate, decision);
        let finite = calibration
            .log_prior()
            .iter()
            .chain(calibration.log_likelihood());
        if !finite.into_iter().all(|value| value.is_finite()) {
            return Err(BundleError::Spec(
                "a calibration image has no finite score; inference diverges, lower the step size"
                    .to_owned(),
            ));
        }
        if self.manifest.calibration.deciding_threshold().is_none() {
            return Err(BundleError::Spec(format!(
                "the model has no score {decision} that could make the verdict: one of whole images has \
                 log_joint and local, one of sites log_joint and sites (calibration.decision)"
            )));
        }
        if !self.manifest.calibration.tells_rate() {
            let fewest = calibration.comparison().fewest_images(false_positive_rate);
            return Err(BundleError::Spec(format!(
                "{} calibration images cannot tell a false-positive rate of {false_positive_rate}; \
                 at least {} are needed and the rate must be above 0 and below 1",
                calibration.len(),
                fewest.unwrap_or(usize::MAX),
            )));
        }
        self.write(CALIBRATION, &calibration.encode())?;
        write_manifest(self.folder.path(), &self.manifest)?;
        sync(self.folder.path())?;
        // Before it takes the place of another one.
        let bundle = Bundle::open(self.folder.path())?;
        let out = self.publish()?;
        Ok(bundle.moved_to(out))
    }

    /// Says which files the images of the memory bank came from, if there are names.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set_names(&mut self, names: &ImageNames) -> Result<(), BundleError> {
        let path = self.folder.path().join(NAMES);
        if !names.is_empty() {
            let bytes = names.encode();
            let bytes = bytes.map_err(|error| BundleError::invalid(&path, error.to_string()))?;
            return self.write(NAMES, &bytes);
        }
        // Those of the bundle that it was made of.
        match self.manifest.files.remove(NAMES) {
            Some(_) => fs::remove_file(&path).map_err(BundleError::io(&path)),
            None => Ok(()),
        }
    }

    /// Adds a file that is the trainer's business, or replaces it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let path = self.folder.path().join(name);
        write_whole(&path, bytes).map_err(BundleError::io(&path))?;
        let entry = FileEntry {
            sha256: sha256_hex(bytes),
            size_bytes: bytes.len() as u64,
        };
        self.manifest.files.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Puts the folder in its place. Where that fails the folder stays, and the error names it.
    fn publish(self) -> Result<PathBuf, BundleError> {
        let out = self.out.clone();
        // Temporary folders are private; a bundle is for whoever may read the place it lies in.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let folder = self.folder.path();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
                .map_err(BundleError::io(folder))?;
        }
        // The place may have been taken since it was checked.
        let placed = may_replace(&out, self.overwrite).and_then(|out| {
            let place = || place(self.folder.path(), &out);
            place().map_err(BundleError::io(&out))
        });
        let folder = self.folder.keep();
        match placed {
            Ok(()) => Ok(out),
            Err(error) => Err(BundleError::Unplaced {
                staged: folder,
                reason: Box::new(error),
            }),
        }
    }
}

/// Renames `folder` to `out`. A folder cannot replace a folder with content in one step, so the old
/// one moves away first.
fn place(folder: &Path, out: &Path) -> std::io::Result<()> {
    let _changing = changing();
    if !out.exists() {
        return fs::rename(folder, out);
    }
    let retired = tempfile::Builder::new()
        .prefix(".lfbm-retired-")
        .tempdir_in(folder_of(out))?;
    let old = retired.path().join("bundle");
    fs::rename(out, &old)?;
    let Err(error) = fs::rename(folder, out) else {
        return Ok(());
    };
    if fs::rename(&old, out).is_err() {
        let _ = retired.keep();
    }
    Err(error)
}

/// A temporary folder in the folder of `out`.
fn folder_beside(out: &Path) -> Result<ScratchDir, BundleError> {
    let parent = folder_of(out);
    ScratchDir::new_in(parent, TEMPORARY).map_err(BundleError::io(parent))
}

fn sync(folder: &Path) -> Result<(), BundleError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(BundleError::io(folder))
}
