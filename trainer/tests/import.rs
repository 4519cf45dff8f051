//! Models that PyTorch exported become bundles whose gradients are PyTorch's. The files in
//! `exported/`, and the numbers in its `expected.json`, were written by its `export.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lfbm_bundle::Bundle;
use lfbm_model::{ModelFiles, imported_graphs, posterior_graph};
use lfbm_onnx::{Dim, Graph, Tensor, encode};
use lfbm_runtime::{Runtime, evaluate};
use lfbm_trainer::import_check::check_lowering;
use serde_json::Value;

const EXPORTERS: [&str; 2] = ["torchscript", "dynamo"];

fn exported(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exported");
    folder.join(name)
}

fn floats(value: &Value) -> Vec<f32> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap() as f32).collect()
}

fn assert_close(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= 1e-4 * scale,
            "{what}[{index}]: {got} for {expected}"
        );
    }
}

#[test]
fn the_posterior_of_an_exported_model_is_pytorchs() {
    let text = std::fs::read_to_string(exported("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let sigma = expected["sigma"].as_f64().unwrap() as f32;
    let runtime = Runtime::load(None).unwrap();
    for name in ["dcgan", "upsampling", "activations", "attending"] {
        let expected = &expected[name];
        let shape = floats(&expected["shape"]);
        let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        for exporter in EXPORTERS {
            let what = format!("{name} by {exporter}");
            let files = ModelFiles {
                generator: exported(&format!("{name}.{exporter}.onnx")),
                flow: Some(exported(&format!("glow.{exporter}.onnx"))),
                prior: Some(exported(&format!("inverse.{exporter}.onnx"))),
            };
            let (graphs, image, latent_dim) = imported_graphs(&files, [-1.0, 1.0])
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!([image.channels, image.height, image.width], shape[1..]);
            let posterior = posterior_graph(
                &graphs.generator,
                &graphs.flow,
                image.shape(),
                latent_dim,
                sigma,
            )
            .unwrap_or_else(|error| panic!("{what}: {error}"));

            let rows = shape[0];
            let z = Tensor::new([rows, latent_dim], floats(&expected["z"]));
            // With s^2/2 = 1 and no noise a step adds the gradient.
            let inputs = [
                z.clone(),
                Tensor::new(shape.clone(), floats(&expected["x"])),
                Tensor::new(
                    [rows, 1, image.height, image.width],
                    floats(&expected["mask"]),
                ),
                z.clone(),
                Tensor::new([rows], vec![2.0_f32.sqrt(); rows]),
                Tensor::new([rows], vec![0.0; rows]),
            ];
            let outputs = evaluate(&runtime, &posterior, &inputs)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let moved = outputs[0].data.iter().zip(&z.data);
            let slope: Vec<f32> = moved.map(|(after, before)| after - before).collect();
            let check = |part: &str, got: &[f32]| {
                assert_close(&format!("{what}: {part}"), got, &floats(&expected[part]));
            };
            check("log_prior", &outputs[1].data);
            check("log_likelihood", &outputs[2].data);
            check("image", &outputs[3].data);
            check("slope", &slope);

            // Down the flow and up again.
            let z0 = evaluate(&runtime, &graphs.flow, std::slice::from_ref(&z)).unwrap();
            let prior = graphs.prior.unwrap();
            let back = evaluate(&runtime, &prior, &z0[..1]).unwrap();
            assert_close(&format!("{what}: inverse"), &back[0].data, &z.data);
        }
    }
}

/// `graph` with a factor on one of its outputs.
fn spoiled(graph: &Graph, output: usize, factor: f32) -> Graph {
    let mut spoiled = Graph::new(graph.name());
    let input = &graph.inputs()[0];
    let bound = spoiled.input(input.name(), graph.shape(input).unwrap());
    let mut values = spoiled.inline(graph, &[(input.name(), &bound)]).unwrap();
    values[output] = spoiled.scale(&values[output], factor).unwrap();
    for (output, value) in graph.outputs().iter().zip(&values) {
        spoiled.output(output.name(), value).unwrap();
    }
    spoiled
}

#[test]
fn an_imported_graph_is_what_onnx_runtime_makes_of_its_file() {
    let runtime = Runtime::load(None).unwrap();
    for name in ["dcgan", "upsampling", "activations", "attending"] {
        for exporter in EXPORTERS {
            let [generator, flow, prior] =
                [name, "glow", "inverse"].map(|name| exported(&format!("{name}.{exporter}.onnx")));
            let files = ModelFiles {
                generator: generator.clone(),
                flow: Some(flow.clone()),
                prior: Some(prior.clone()),
            };
            let (graphs, _, latent_dim) = imported_graphs(&files, [0.0, 1.0]).unwrap();
            for (path, graph) in [
                (generator, graphs.generator),
                (flow, graphs.flow),
                (prior, graphs.prior.unwrap()),
            ] {
                check_lowering(&runtime, &path, &graph, latent_dim).unwrap();
                for (index, output) in graph.outputs().iter().enumerate() {
                    for factor in [1.001, f32::NAN] {
                        let graph = spoiled(&graph, index, factor);
                        let message = check_lowering(&runtime, &path, &graph, latent_dim)
                            .expect_err("another graph is refused")
                            .to_string();
                        let named = format!("the graph {} ", graph.name());
                        let differs = format!("{output} differs by up to ");
                        assert!(message.contains(&named), "{message}");
                        assert!(message.contains(&differs), "{message}");
                    }
                }
            }
        }
    }
}

/// `trainer import`, calibrated on digits that a procedure draws: all of them for a generator alone,
/// else all but the 4.
fn import(out: &Path, flags: &[(&str, PathBuf)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command
        .args(["import", "--sigma", "0.3", "--value-range", "0", "1"])
        .args(["--name", "mine", "--dataset", "strokes"])
        .args(["--strokes-count", "200"])
        .args([
            "--set",
            "calibration.count=60",
            "--set",
            "inference.steps=12",
        ])
        .arg("--out")
        .arg(out);
    if flags.len() > 1 {
        command.args(["--holdout", "4"]);
    }
    for (flag, path) in flags {
        command.arg(flag).arg(path);
    }
    command.output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_imported_model_is_a_bundle_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let generator = ("--generator", exported("dcgan.torchscript.onnx"));
    let flow = ("--flow", exported("glow.torchscript.onnx"));
    let prior = ("--prior", exported("inverse.torchscript.onnx"));
    let samples = |bundle: &Path| {
        Command::new(env!("CARGO_BIN_EXE_trainer"))
            .arg("draw")
            .arg("--bundle")
            .arg(bundle)
            .arg("--out")
            .arg(folder.path().join("samples"))
            .output()
            .unwrap()
    };
    for (name, flags, kind, sampled) in [
        ("gaussian", vec![generator.clone()], "gaussian", true),
        ("flow", vec![generator.clone(), flow.clone()], "flow", false),
        ("whole", vec![generator, flow, prior], "flow", true),
    ] {
        let out = folder.path().join(name);
        let output = import(&out, &flags);
        assert!(output.status.success(), "{name}: {}", errors(&output));
        let bundle = Bundle::open(&out).unwrap();
        let manifest = serde_json::to_value(bundle.manifest()).unwrap();
        assert_eq!(manifest["prior"], kind);
        assert_eq!(
            manifest["langevin"]["noise_free_steps"], 10,
            "of chains that start at noise"
        );
        assert_eq!(
            manifest["image"]["value_range"],
            serde_json::json!([0.0, 1.0])
        );

        let output = samples(&out);
        assert_eq!(
            output.status.success(),
            sampled,
            "{name}: {}",
            errors(&output)
        );
        if sampled {
            continue;
        }
        assert!(errors(&output).contains("--prior"), "{}", errors(&output));
        let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
            .arg("evaluate")
            .arg(&out)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", errors(&output));
        assert!(out.join("report/evaluation.json").is_file());
        assert!(!out.join("report/samples.png").exists());
    }
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let generator = ("--generator", exported("dcgan.torchscript.onnx"));
    let flow = ("--flow", exported("glow.torchscript.onnx"));
    let cumulative = ("--generator", exported("cumulative.torchscript.onnx"));
    let log_det = ("--flow", exported("log_det_alone.torchscript.onnx"));
    let coloured = ("--generator", exported("upsampling.dynamo.onnx"));
    let swapped = ("--generator", exported("glow.dynamo.onnx"));
    let negated = ("--prior", folder.path().join("negated.onnx"));
    let mut graph = Graph::new("negated");
    let z0 = graph.input("z0", &[Dim::Batch, Dim::Fixed(8)]);
    let z = graph.neg(&z0).unwrap();
    graph.output("z", &z).unwrap();
    std::fs::write(&negated.1, encode(&graph, None).unwrap()).unwrap();
    let mixed = ("--generator", folder.path().join("mixed.onnx"));
    let mut graph = Graph::new("mixed");
    let z = graph.input("z", &[Dim::Batch, Dim::Fixed(8)]);
    let sum = graph.reduce_sum(&z, &[0], true).unwrap();
    let sum = graph.add(&z, &sum).unwrap();
    let x = graph.reshape(&sum, &[0, 1, 2, 4]).unwrap();
    graph.output("x", &x).unwrap();
    std::fs::write(&mixed.1, encode(&graph, None).unwrap()).unwrap();
    let nothing = ("--generator", exported("expected.json"));
    for (flags, parts) in [
        // The operator, its node, and what there is instead.
        (vec![cumulative], ["CumSum", "/CumSum", "ConvTranspose, "]),
        (
            vec![generator.clone(), log_det],
            ["log_prob", "log N", "log_det_alone"],
        ),
        (vec![coloured], ["3 x 16 x 16", "1 x 28 x 28", "data set"]),
        (
            vec![swapped],
            ["glow.dynamo.onnx", "outputs", "expected one"],
        ),
        (
            vec![generator, flow, negated],
            ["negated.onnx", "inverse of the flow", ""],
        ),
        (
            vec![mixed],
            ["mixed.onnx", "x of a latent differs", ".eval()"],
        ),
        (vec![nothing], ["expected.json", "not an ONNX model", ""]),
    ] {
        let output = import(&out, &flags);
        let message = errors(&output);
        assert!(!output.status.success() && !out.exists(), "{flags:?}");
        for part in parts {
            assert!(message.contains(part), "{flags:?}: {message}");
        }
    }
}

#[test]
fn what_a_bundle_cannot_have_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    for (arguments, part) in [
        (&["--name", "a b"][..], "letters, digits"),
        (&["--sigma", "nan"], "--sigma"),
        (&["--sigma", "0"], "--sigma"),
        (&["--sigma", "inf"], "--sigma"),
        (&["--value-range", "nan", "1"], "--value-range"),
        (&["--value-range", "1", "0"], "--value-range"),
        (
            &["--set", "model.sigma=0.3"],
            "only settings of inference, calibration",
        ),
        (
            &["--set", "representation.kind=hog"],
            "representation belongs to the fit",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.args([
            "import",
            "--dataset",
            "strokes",
            "--generator",
            "missing.onnx",
        ]);
        for by_default in [["--sigma", "0.3"], ["--name", "mine"]] {
            if by_default[0] != arguments[0] {
                command.args(by_default);
            }
        }
        let output = command
            .args(arguments)
            .arg("--out")
            .arg(&out)
            .output()
            .unwrap();
        let message = errors(&output);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(message.contains(part), "{arguments:?}: {message}");
        assert!(
            !message.contains("missing.onnx"),
            "{arguments:?}: {message}"
        );
    }
}

/// The weights of a generator beside it, in the places that a file may name and in others.
#[test]
fn weights_beside_a_model_are_read_from_its_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("model");
    fs::create_dir(&place).unwrap();
    let model = place.join("dcgan.dynamo.onnx");
    let weights = place.join("dcgan.dynamo.onnx.data");
    let original = fs::read(exported("dcgan.dynamo.onnx")).unwrap();
    let data = fs::read(exported("dcgan.dynamo.onnx.data")).unwrap();
    let files = ModelFiles {
        generator: model.clone(),
        flow: None,
        prior: None,
    };
    let refusal = || match imported_graphs(&files, [0.0, 1.0]) {
        Ok(_) => panic!("it is imported"),
        Err(error) => error.to_string(),
    };
    fs::write(&model, &original).unwrap();
    let shown = fs::canonicalize(&place)
        .unwrap()
        .join("dcgan.dynamo.onnx.data");
    let message = refusal();
    assert!(message.contains(&shown.display().to_string()), "{message}");
    assert!(message.contains("tensor "), "{message}");

    fs::write(&weights, &data[..data.len() - 1]).unwrap();
    let message = refusal();
    assert!(message.contains("cut off"), "{message}");

    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, &data).unwrap();
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &weights).unwrap();
    let message = refusal();
    assert!(
        message.contains("a link out of the model's folder"),
        "{message}"
    );

    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    let message = refusal();
    assert!(message.contains("which is no file"), "{message}");

    fs::remove_dir(&weights).unwrap();
    fs::write(&weights, &data).unwrap();
    assert!(imported_graphs(&files, [0.0, 1.0]).is_ok());

    // Of the same length, so that the file stays a message.
    for name in ["../elsewhere/is/what/x", "/tmp/elsewhere/is/wher"] {
        let named = "dcgan.dynamo.onnx.data";
        assert_eq!(name.len(), named.len());
        let at = |bytes: &[u8]| {
            bytes
                .windows(named.len())
                .position(|w| w == named.as_bytes())
        };
        let mut bytes = original.clone();
        while let Some(at) = at(&bytes) {
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        }
        fs::write(&model, &bytes).unwrap();
        let message = refusal();
        assert!(
            message.contains("a file in the model's folder"),
            "{message}"
        );
    }
}
