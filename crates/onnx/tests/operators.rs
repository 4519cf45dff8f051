//! Every operator that exporters write is imported with ONNX Runtime's values and with the gradient of
//! finite differences, or refused with all that is missing. `operators.py` writes the models.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lfbm_onnx::{Dim, Graph, Tensor, Value, gradient, import};
use lfbm_runtime::{ChainNoise, Runtime, evaluate, evaluate_file};

const ROWS: usize = 3;
const LATENT_DIM: usize = 8;
/// Half the distance of the points that a slope is taken between.
const STEP: f32 = 5e-3;

/// The models, in a folder that goes away.
fn models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(root.join("tests/operators.py"))
        .arg(folder.path())
        .env("PYTHONPATH", root.join("../../third_party/python"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn imported(path: &Path) -> Result<(Graph, Value), String> {
    let bytes = fs::read(path).unwrap();
    let none = |file: &str, _, _| Err(format!("is not in {file}"));
    let imported = import(&bytes, &none, "model", "z").map_err(|error| error.to_string())?;
    let (_, output) = imported.outputs[0].clone();
    Ok((imported.graph, output))
}

/// A number for each element of a row, none of which is 0 or another's.
fn cotangent(row: &[usize]) -> Tensor {
    let count: usize = row.iter().product();
    let data = (0..count).map(|at| (1.0 + at as f32).sin() + 0.1);
    Tensor::new(row, data.collect())
}

/// The graph with the output, and with the slope of its product with [`cotangent`].
fn with_slope(mut graph: Graph, output: &Value) -> Result<Graph, String> {
    let told = |error: lfbm_onnx::GraphError| error.to_string();
    let z = graph.inputs()[0].clone();
    let shape = graph.shape(output).map_err(told)?.to_vec();
    let [Dim::Batch, rest @ ..] = &shape[..] else {
        return Err(format!("the shape {shape:?} has no rows"));
    };
    let row: Vec<usize> = rest
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Batch => panic!("two dimensions of rows"),
        })
        .collect();
    let axes: Vec<i64> = (1..shape.len() as i64).collect();
    let weights = graph.weights("cotangent", cotangent(&row));
    let mut sum = graph.mul(output, &weights).map_err(told)?;
    if !axes.is_empty() {
        sum = graph.reduce_sum(&sum, &axes, false).map_err(told)?;
    }
    let slope = gradient(&mut graph, &sum, &z).map_err(told)?;
    graph.output("value", output).map_err(told)?;
    graph.output("slope", &slope).map_err(told)?;
    graph.simplify();
    Ok(graph)
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let pairs = got.iter().zip(expected);
    // One that is not a number is larger than all.
    let apart = pairs.map(|(a, b)| (a - b).abs());
    apart.fold(0.0, |most, v| if v <= most { most } else { v })
}

/// What is wrong with the model at `path`, if anything.
fn check(runtime: &Runtime, path: &Path, z: &[f32]) -> Result<(), String> {
    let (graph, output) = imported(path)?;
    let graph = with_slope(graph, &output)?;
    // Every latent, then the latent moved along each axis.
    let mut points = Vec::new();
    for row in z.chunks(LATENT_DIM) {
        points.extend_from_slice(row);
        for axis in 0..LATENT_DIM {
            for step in [STEP, -STEP] {
                let mut moved = row.to_vec();
                moved[axis] += step;
                points.extend(moved);
            }
        }
    }
    let rows = |data: &[f32]| Tensor::new([data.len() / LATENT_DIM, LATENT_DIM], data.to_vec());
    let told = |error: lfbm_runtime::RuntimeError| error.to_string();
    let file = &evaluate_file(runtime, path, &[rows(&points)]).map_err(told)?[0];
    let outputs = evaluate(runtime, &graph, &[rows(z)]).map_err(told)?;

    let row = file.data.len() / (ROWS * (1 + 2 * LATENT_DIM));
    let weights = cotangent(&file.shape[1..]).data;
    let mut expected = Vec::new();
    // To both sides, to one, and to the other: near a kink, only one of them is that of the point.
    let mut slopes: [Vec<f32>; 3] = Default::default();
    for block in file.data.chunks(row * (1 + 2 * LATENT_DIM)) {
        let energy = |index: usize| -> f64 {
            let values = block[index * row..][..row].iter().zip(&weights);
            values.map(|(v, w)| f64::from(*v) * f64::from(*w)).sum()
        };
        expected.extend_from_slice(&block[..row]);
        for axis in 0..LATENT_DIM {
            let [here, above, below] = [0, 1 + 2 * axis, 2 + 2 * axis].map(energy);
            let step = f64::from(STEP);
            slopes[0].push(((above - below) / (2.0 * step)) as f32);
            slopes[1].push(((above - here) / step) as f32);
            slopes[2].push(((here - below) / step) as f32);
        }
    }
    if outputs[0].shape[1..] != file.shape[1..] {
        let (got, wanted) = (&outputs[0].shape, &file.shape);
        return Err(format!(
            "the shape {got:?}, expected {wanted:?} but for the rows"
        ));
    }
    let apart = difference(&outputs[0].data, &expected);
    if apart > 1e-4 * largest(&expected).max(1e-3) {
        return Err(format!(
            "values differ by {apart} of {}",
            largest(&expected)
        ));
    }
    let scale = largest(&outputs[1].data).max(1e-3);
    for (at, &slope) in outputs[1].data.iter().enumerate() {
        let found = [(0, 5e-3), (1, 2e-2), (2, 2e-2)];
        let close = |(which, most): (usize, f32)| (slopes[which][at] - slope).abs() <= most * scale;
        if !found.into_iter().any(close) {
            let numerical: Vec<f32> = slopes.iter().map(|slopes| slopes[at]).collect();
            return Err(format!("slope {at} is {slope}, numerically {numerical:?}"));
        }
    }
    Ok(())
}

#[test]
fn operators_have_onnx_runtimes_values_and_numerical_slopes() {
    let folder = models();
    let runtime = Runtime::load(None).unwrap();
    let mut z = vec![0.0; ROWS * LATENT_DIM];
    ChainNoise::new(0, 0).initial(&mut z);
    let files = files(&folder.path().join("imported"));
    assert!(files.len() > 250, "{}", files.len());
    let mut wrong = Vec::new();
    for path in &files {
        if let Err(reason) = check(&runtime, path, &z) {
            let name = path.file_stem().unwrap().to_string_lossy();
            wrong.push(format!("{name}: {reason}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} models:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_cannot_be_imported_is_named_at_once() {
    let folder = models();
    let text = fs::read_to_string(folder.path().join("refused.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let files = files(&folder.path().join("refused"));
    assert_eq!(files.len(), expected.as_object().unwrap().len());
    let mut wrong = Vec::new();
    for path in &files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match imported(path) {
            Ok(_) => wrong.push(format!("{name} is imported")),
            Err(message) => {
                for part in expected[&name].as_array().unwrap() {
                    if !message.contains(part.as_str().unwrap()) {
                        wrong.push(format!("{name} lacks {part}: {message}"));
                    }
                }
                if message.len() > 8000 {
                    wrong.push(format!("{name} says too much: {} bytes", message.len()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
