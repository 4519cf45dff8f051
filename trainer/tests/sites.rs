//! Models of the sites of an image, as users of the trainer meet them: fit, report, calibrate, export.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Decision;
use lfbm_onnx::{ConvGeometry, Dim, Graph, Tensor, encode};
use process::{done, fit_cloth, refused, signal, start, text, trainer, wait_until};

/// The folder of drawn cloth, with the bundle of a fit of its orientations.
static DRAWN: LazyLock<Drawn> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sites");
    let _ = fs::remove_dir_all(&folder);
    let drawn = Drawn {
        set: folder.join("cloth"),
        bundle: folder.join("bundle"),
    };
    let mut draw = trainer(["draw", "--cloth", "--count", "64", "--cloth-size", "64x64"]);
    done(draw.arg("--out").arg(&drawn.set));
    done(&mut drawn.fit("orientations", &drawn.bundle, &[]));
    drawn
});

struct Drawn {
    set: PathBuf,
    bundle: PathBuf,
}

impl Drawn {
    fn fit(&self, representation: &str, out: &Path, changes: &[&str]) -> Command {
        fit_cloth(&self.set, representation, out, changes)
    }

    /// Evaluates a bundle; returns the report's folder.
    fn evaluate(&self, bundle: &Path, out: &Path) -> PathBuf {
        let mut evaluate = trainer(["evaluate"]);
        evaluate.arg(bundle).arg("--data-dir").arg(&self.set);
        done(evaluate.arg("--out").arg(out));
        out.to_path_buf()
    }

    /// A command on the shared bundle and its images.
    fn command(&self, name: &str) -> Command {
        let mut command = trainer([name]);
        command.arg(&self.bundle).arg("--data-dir").arg(&self.set);
        command
    }
}

/// Whether two bundles have the same weights and the same calibration.
fn assert_equal(left: &Path, right: &Path) {
    for name in ["weights.bin", "preprocess.onnx", "calibration.bin"] {
        let [left, right] = [left, right].map(|bundle| fs::read(bundle.join(name)).unwrap());
        assert!(left == right, "{name} differs");
    }
}

#[test]
fn drawn_cloth_is_an_inspection_data_set() {
    let set = &DRAWN.set;
    let count = |folder: &str| fs::read_dir(set.join(folder)).unwrap().count();
    assert_eq!((count("train/good"), count("test/good")), (64, 16));
    for fault in ["thread", "hole", "knot", "stain", "mispick"] {
        assert_eq!(count(&format!("test/{fault}")), 4);
        for index in 0..4 {
            let file = format!("ground_truth/{fault}/{index:03}_mask.png");
            let mask = image::open(set.join(&file)).unwrap().to_luma8();
            assert_eq!(mask.dimensions(), (64, 64));
            assert!(mask.pixels().any(|pixel| pixel.0 == [255]), "{file}");
            assert!(mask.pixels().any(|pixel| pixel.0 == [0]), "{file}");
        }
    }
}

#[test]
fn sizes_of_cloth_are_checked() {
    for size in ["64", "64x", "x64", "8x64", "64x5000", "64x64x64"] {
        let mut draw = trainer(["draw", "--cloth", "--cloth-size", size, "--out", "unused"]);
        let output = draw.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{size}");
        assert!(text(&output).contains("WIDTHxHEIGHT"), "{}", text(&output));
    }
}

#[test]
fn a_report_has_scores_of_images_and_of_places() {
    let folder = tempfile::tempdir().unwrap();
    let tiles = folder.path().join("tiles");
    done(&mut DRAWN.fit("tiles", &tiles, &[]));
    for bundle in [&DRAWN.bundle, &tiles] {
        let report = DRAWN.evaluate(bundle, &folder.path().join("report"));
        let json = fs::read_to_string(report.join("evaluation.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let verdict = &json["verdict"];
        assert_eq!(verdict["score"], "sites");
        let shares = [
            "image_auroc",
            "image_auprc",
            "image_f1_max",
            "pixel_auroc",
            "pixel_aupro",
            "pixel_f1_max",
        ];
        for name in shares {
            let value = verdict[name].as_f64();
            assert!(
                value.is_some_and(|value| (0.0..=1.0).contains(&value)),
                "{name} in {verdict}"
            );
        }
        let classes = verdict["by_class"].as_object().unwrap();
        assert_eq!(classes.len(), 5, "{verdict}");

        let scores = fs::read_to_string(report.join("scores.csv")).unwrap();
        let header = scores.lines().next().unwrap();
        assert_eq!(
            header,
            "index,class,anomalous,log_joint,log_prior,log_likelihood,p_value,site_density,\
             site_distance,patch_distance,mahalanobis,site_score,site_p_value,file"
        );
        assert_eq!(scores.lines().count(), 1 + 16 + 5 * 4);
        for name in ["maps.png", "false_alarms.png", "misses.png"] {
            let picture = image::open(report.join(name)).unwrap();
            assert!(picture.width() >= 64 && picture.height() >= 64, "{name}");
        }
        assert!(!report.join("reconstructions.png").exists());
    }
}

#[test]
fn a_bundle_gives_the_same_scores_again() {
    let folder = tempfile::tempdir().unwrap();
    let scores = ["one", "two"].map(|name| {
        let report = DRAWN.evaluate(&DRAWN.bundle, &folder.path().join(name));
        fs::read(report.join("scores.csv")).unwrap()
    });
    assert!(scores[0] == scores[1]);
}

#[test]
fn calibration_and_export_repeat_those_of_the_fit() {
    let folder = tempfile::tempdir().unwrap();
    let calibrated = folder.path().join("calibrated");
    let mut calibrate = DRAWN.command("calibrate");
    calibrate.args(["--set", "calibration.sites=300"]);
    done(calibrate.arg("--out").arg(&calibrated));
    assert_equal(&calibrated, &DRAWN.bundle);
    let manifest = Bundle::open(&calibrated).unwrap().manifest().clone();
    assert_eq!(manifest.calibration.decision, Decision::Sites);

    let exported = folder.path().join("exported");
    let mut export = trainer(["export"]);
    export.arg(DRAWN.bundle.with_added_extension("checkpoint"));
    export.arg("--data-dir").arg(&DRAWN.set);
    done(export.arg("--out").arg(&exported));
    assert_equal(&exported, &DRAWN.bundle);
}

#[test]
fn images_of_another_cloth_calibrate_a_version_without_those_of_the_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (other, out) = (folder.path().join("other"), folder.path().join("bundle"));
    let mut draw = trainer(["draw", "--cloth", "--count", "120", "--seed", "9"]);
    draw.args(["--cloth-size", "64x64", "--out"]);
    done(draw.arg(&other));
    let calibrate = |more: &[&str]| {
        let mut command = trainer(["calibrate"]);
        command.arg(&DRAWN.bundle).arg("--data-dir").arg(&other);
        command.args(["--changed-data", "--model-version", "2"]);
        command.args(more).arg("--out").arg(&out);
        command
    };
    // 30 of them are in test/good; each gets faults, whose material is that of another one.
    let said = done(&mut calibrate(&[]));
    assert!(said.contains("drawn into 10 normal images"), "{said}");
    let calibrated = Bundle::open(&out).unwrap();
    assert_eq!(calibrated.calibration().len(), 30);

    fs::remove_dir_all(&out).unwrap();
    let said = refused(&mut calibrate(&["--set", "calibration.count=31"]));
    assert!(said.contains("set calibration.count below 31"), "{said}");
    for file in fs::read_dir(other.join("test/good")).unwrap().take(10) {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    for more in [&[][..], &["--set", "calibration.count=27"]] {
        let said = refused(&mut calibrate(more));
        assert!(said.contains("needs 27 normal images"), "{said}");
        assert!(said.contains("there are 20; add normal images"), "{said}");
        assert!(!said.contains("below") && !said.contains("rate"), "{said}");
    }
}

#[test]
fn pixels_on_disk_give_the_model_of_pixels_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (out, disk) = (folder.path().join("bundle"), folder.path().join("disk"));
    let fit = |temporary: &Path| {
        let mut fit = DRAWN.fit("orientations", &out, &[]);
        fit.arg("--pixels-on-disk").env("TMPDIR", temporary);
        fit
    };
    let said = refused(&mut fit(&disk));
    assert!(said.contains("disk"), "{said}");
    fs::create_dir(&disk).unwrap();
    let said = done(fit(&disk).arg("--overwrite"));
    let place = format!("in a temporary file in {}", disk.display());
    assert!(said.contains(&place), "{said}");
    assert_equal(&out, &DRAWN.bundle);
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
}

#[test]
fn a_fit_that_was_stopped_goes_on_to_the_result_of_an_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let changes = ["learning.iterations=250", "run.checkpoint_every=5"];
    done(&mut DRAWN.fit("orientations", &whole, &changes));

    let mut process = start(&mut DRAWN.fit("orientations", &broken, &changes));
    let checkpoint = folder.path().join("broken.checkpoint");
    wait_until("a checkpoint", || checkpoint.is_file());
    signal(&process, "INT");
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert!(!broken.exists(), "a stopped fit wrote a bundle");
    // Where its pixels are kept is not what a fit is.
    let mut resumed = DRAWN.fit("orientations", &broken, &changes);
    let said = done(resumed.args(["--resume", "--pixels-on-disk"]));
    assert!(said.contains("resumed at iteration"), "{said}");
    assert_equal(&broken, &whole);
}

#[test]
fn a_fit_that_cannot_learn_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let changes = [
        "learning.iterations=320",
        "learning.generator_learning_rate=1e-12",
    ];
    let said = refused(&mut DRAWN.fit("orientations", &out, &changes));
    assert!(said.contains("nothing was learned"), "{said}");
    assert!(said.contains("learning.iterations"), "{said}");
    assert!(!out.exists());
    // Nor is there a bundle of what its checkpoint keeps.
    let said = refused(DRAWN.fit("orientations", &out, &changes).arg("--resume"));
    assert!(said.contains("nothing was learned"), "{said}");
    let mut export = trainer(["export"]);
    export.arg(folder.path().join("bundle.checkpoint"));
    export.arg("--data-dir").arg(&DRAWN.set);
    let said = refused(export.arg("--out").arg(&out));
    assert!(said.contains("nothing was learned"), "{said}");
    assert!(!out.exists());
}

#[test]
fn a_checkpoint_of_an_iteration_beyond_its_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, out) = (folder.path().join("damaged"), folder.path().join("bundle"));
    let own = DRAWN.bundle.with_added_extension("checkpoint");
    let mut tensors = tch::Tensor::read_safetensors(own).unwrap();
    let iteration = tensors.iter_mut().find(|(name, _)| name == "iteration");
    iteration.unwrap().1 = tch::Tensor::from_slice(&[i64::MAX]);
    tch::Tensor::write_safetensors(&tensors, &checkpoint).unwrap();
    let mut export = trainer(["export"]);
    export.arg(&checkpoint).arg("--data-dir").arg(&DRAWN.set);
    let said = refused(export.arg("--out").arg(&out));
    assert!(said.contains("its fit has 40"), "{said}");
    assert!(!out.exists());
}

#[test]
fn more_sites_than_a_bundle_may_have_are_refused_before_the_fit() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let mut fit = trainer(["fit", "--device", "cpu", "--image-size", "1025"]);
    fit.args([
        "--representation",
        "tiles",
        "--set",
        "representation.tile=1",
    ]);
    fit.arg("--data-dir").arg(&DRAWN.set).arg("--out").arg(&out);
    let said = refused(&mut fit);
    assert!(said.contains("1 to 1024 rows and columns"), "{said}");
    assert!(said.contains("representation.tile"), "{said}");
    assert!(!said.contains("iteration"), "{said}");
    assert!(!out.exists());
}

/// Without a size, sites are as fine as drawn faults ask for: the smallest side at which they are found nearly as well as
/// at any larger one that the images have. A fit that is resumed keeps it.
#[test]
fn photographs_get_a_working_size_by_drawn_faults() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut draw = trainer([
        "draw",
        "--cloth",
        "--count",
        "100",
        "--cloth-size",
        "520x400",
    ]);
    done(draw.arg("--out").arg(path("cloth")));
    let fit = |options: &[&str]| {
        let mut fit = trainer(["fit", "--device", "cpu", "--representation", "orientations"]);
        fit.arg("--data-dir").arg(path("cloth")).args(options);
        for change in ["learning.iterations=2", "calibration.sites=200"] {
            fit.args(["--set", change]);
        }
        fit.arg("--out").arg(path("bundle"));
        fit
    };
    let side = || {
        Bundle::open(&path("bundle"))
            .unwrap()
            .manifest()
            .image
            .width
    };

    let said = done(&mut fit(&[]));
    let found = |side: usize| -> Option<f64> {
        let (_, after) = said.split_once(&format!("at {side} x {side} pixels, "))?;
        let number = after.split_once("AUROC ")?.1.split_whitespace().next()?;
        Some(number.parse().unwrap())
    };
    let [small, large] = [256, 384].map(|side| found(side).unwrap());
    assert_eq!(found(512), None, "larger than the images: {said}");
    // Printed to three digits.
    let gain = large - small - 0.03;
    if gain.abs() > 0.0015 {
        assert_eq!(side(), if gain > 0.0 { 384 } else { 256 }, "{said}");
    }
    let chosen = side();
    let said = done(&mut fit(&["--resume", "--overwrite"]));
    assert!(!said.contains("working size"), "{said}");
    assert_eq!(side(), chosen);
    let said = done(&mut fit(&["--overwrite", "--set", "calibration.count=60"]));
    assert!(
        said.contains("40 images to fit are too few to choose a size by"),
        "{said}"
    );
    assert_eq!(side(), 256);
    let said = done(&mut fit(&["--image-size", "64", "--overwrite"]));
    assert!(!said.contains("working size"), "{said}");
    assert_eq!(side(), 64);
}

/// A network in an ONNX file with a map of a position each 8 pixels, which may depend on the largest values of the
/// batch.
fn network(path: &Path, mixes: bool) {
    let mut graph = Graph::new("network");
    let side = Dim::Fixed(64);
    let images = graph.input("images", &[Dim::Batch, Dim::Fixed(3), side, side]);
    let weight = (0..4 * 3 * 9).map(|at| (at as f32).sin()).collect();
    let weight = graph.weights("weight", Tensor::new([4, 3, 3, 3], weight));
    let geometry = ConvGeometry::new(3, 8, 1);
    let mut map = graph.conv(&images, &weight, None, geometry).unwrap();
    if mixes {
        let most = graph.reduce_max(&map, &[0, 2, 3], true).unwrap();
        map = graph.sub(&map, &most).unwrap();
    }
    graph.output("map", &map).unwrap();
    fs::write(path, encode(&graph, None).unwrap()).unwrap();
}

#[test]
fn a_network_that_mixes_the_images_of_a_batch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fit = |name: &str, mixes| {
        let file = folder.path().join(name).with_extension("onnx");
        network(&file, mixes);
        let file = format!("representation.network={:?}", file.display().to_string());
        let of_map = ["representation.taps=[\"map\"]", "representation.border=0"];
        let changes = [&of_map[..], &[&file]].concat();
        DRAWN.fit("network", &folder.path().join(name), &changes)
    };
    done(&mut fit("each", false));
    let said = refused(&mut fit("mixed", true));
    for part in [
        "mixed.onnx",
        "map of an image differs",
        "batch",
        "representation.network",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!folder.path().join("mixed").exists());
}

#[test]
fn commands_that_draw_images_refuse_models_that_make_none() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut commands: Vec<Command> = ["reconstruct", "inpaint", "recover"]
        .map(|name| DRAWN.command(name))
        .into();
    let mut draw = trainer(["draw", "--bundle"]);
    draw.arg(&DRAWN.bundle);
    let mut synthesize = trainer(["synthesize"]);
    synthesize.arg(&DRAWN.bundle);
    commands.extend([draw, synthesize]);
    for command in &mut commands {
        let said = refused(command.arg("--out").arg(&out));
        assert!(
            said.contains("makes none: its representation is orientations")
                && said.contains("--representation pixels"),
            "{said}"
        );
    }
    let mut fid = DRAWN.command("fid");
    let said = refused(fid.args(["--image-size", "64", "--normal-classes", "good"]));
    assert!(said.contains("--representation pixels"), "{said}");
}
