//! Models that other programs exported as ONNX.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use lfbm_onnx::{Dim, Graph, Imported, Shape, Value, import, import_of_images};

use crate::error::ModelError;
use crate::flow::{self, FlowWeights};
use crate::forward::ForwardGraphs;
use lfbm_images::Intake;

use crate::image::{Contrast, ImageSpec};
use crate::preprocess::preprocess_graph;

/// The files of a model.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// `z: [B,d]`, or `[B,d,1,1]`, to `x: [B,C,H,W]`.
    pub generator: PathBuf,
    /// `z: [B,d]` to `z0: [B,d]` and `log_prob: [B]`, in any order; without it the prior is the
    /// standard Gaussian.
    pub flow: Option<PathBuf>,
    /// `z0: [B,d]` to `z: [B,d]`, the inverse of the flow.
    pub prior: Option<PathBuf>,
}

/// Reads the graphs of a model, and what images it is for. `value_range` is what intensities 0 and
/// 1 are in the generator's images.
///
/// # Errors
/// When a file cannot be read, is not what it is given for, or has an operator that cannot be
/// imported; the message names the file, and the node.
pub fn imported_graphs(
    files: &ModelFiles,
    value_range: [f32; 2],
) -> Result<(ForwardGraphs, ImageSpec, usize), ModelError> {
    let (generator, outputs) = open(&files.generator, "generator", "z")?;
    let path = &files.generator;
    let latent_dim = latent_dim(path, &generator)?;
    let (x, shape) = only_output(path, &outputs)?;
    let &[
        Dim::Batch,
        Dim::Fixed(channels @ (1 | 3)),
        Dim::Fixed(height),
        Dim::Fixed(width),
    ] = &shape[..]
    else {
        let expected = "images, [B, C, H, W] with 1 or 3 channels";
        return Err(misfit(path, &outputs, expected));
    };
    let image = ImageSpec {
        channels,
        height,
        width,
        value_range,
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    };
    let generator = with_outputs(path, generator, &[("x", x)])?;
    let flow = match &files.flow {
        None => flow::normalizing_graph(latent_dim, &FlowWeights::default())?,
        Some(path) => imported_flow(path, latent_dim)?,
    };
    let prior = match (&files.prior, &files.flow) {
        (Some(path), _) => Some(imported_prior(path, latent_dim)?),
        (None, None) => Some(flow::sampling_graph(latent_dim, &[])?),
        (None, Some(_)) => None,
    };
    let graphs = ForwardGraphs {
        preprocess: preprocess_graph(&image)?,
        generator,
        flow,
        prior,
        encoder: None,
    };
    Ok((graphs, image, latent_dim))
}

/// Reads a feature network for images of so many rows and columns: one input `[B, 3, H, W]`, whatever its
/// name, and maps as outputs, with their names in the file.
///
/// # Errors
/// When the file cannot be read, or has an operator that cannot be imported; the message names the file,
/// and the node.
pub fn imported_network(path: &Path, height: usize, width: usize) -> Result<Graph, ModelError> {
    let bytes = std::fs::read(path).map_err(|error| failed(path, error.to_string()))?;
    let external = |file: &str, offset, length| read_beside(path, file, offset, length);
    let imported = import_of_images(&bytes, &external, "network", "image", [height, width]);
    let Imported { graph, outputs } = imported.map_err(|error| failed(path, error.to_string()))?;
    let outputs: Vec<_> = outputs
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    with_outputs(path, graph, &outputs)
}

fn imported_flow(path: &Path, latent_dim: usize) -> Result<Graph, ModelError> {
    let (graph, outputs) = open(path, "flow", "z")?;
    expect_latent(path, &graph, latent_dim)?;
    let latent = [Dim::Batch, Dim::Fixed(latent_dim)];
    let of_shape = |wanted: &[Dim]| {
        let mut found = outputs.iter().filter(|(_, _, shape)| shape == wanted);
        found.next().filter(|_| found.next().is_none())
    };
    let (Some((_, z0, _)), Some((_, log_prob, _)), 2) =
        (of_shape(&latent), of_shape(&[Dim::Batch]), outputs.len())
    else {
        let expected = format!("z0: [B, {latent_dim}] and log_prob: [B]");
        return Err(misfit(path, &outputs, &expected));
    };
    with_outputs(path, graph, &[("z0", z0), ("log_prob", log_prob)])
}

fn imported_prior(path: &Path, latent_dim: usize) -> Result<Graph, ModelError> {
    let (graph, outputs) = open(path, "prior", "z0")?;
    expect_latent(path, &graph, latent_dim)?;
    let (z, shape) = only_output(path, &outputs)?;
    if *shape != [Dim::Batch, Dim::Fixed(latent_dim)] {
        let expected = format!("z: [B, {latent_dim}]");
        return Err(misfit(path, &outputs, &expected));
    }
    with_outputs(path, graph, &[("z", z)])
}

/// A file's output: its name there, its value, and its shape.
type Output = (String, Value, Shape);

fn open(path: &Path, name: &str, input: &str) -> Result<(Graph, Vec<Output>), ModelError> {
    let bytes = std::fs::read(path).map_err(|error| failed(path, error.to_string()))?;
    let external = |file: &str, offset, length| read_beside(path, file, offset, length);
    let Imported { graph, outputs } =
        import(&bytes, &external, name, input).map_err(|error| failed(path, error.to_string()))?;
    let typed = |(name, value): (String, Value)| {
        let shape = graph.shape(&value)?.to_vec();
        Ok((name, value, shape))
    };
    let outputs = outputs
        .into_iter()
        .map(typed)
        .collect::<Result<_, ModelError>>()?;
    Ok((graph, outputs))
}

/// Bytes of a file in the folder of the model, where larger models keep their weights.
fn read_beside(model: &Path, file: &str, offset: usize, length: usize) -> Result<Vec<u8>, String> {
    let parts: Vec<_> = Path::new(file).components().collect();
    let inside = parts
        .iter()
        .all(|part| matches!(part, Component::Normal(_)));
    if parts.is_empty() || !inside {
        return Err(format!(
            "is in {file:?}, expected the name of a file in the model's folder"
        ));
    }
    let folder = match model.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let path = folder.join(file);
    let absent = |error: io::Error| {
        let shown = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        format!(
            "is in another file, which was looked for at {} ({error}); copy it there beside the \
             model",
            shown.display()
        )
    };
    let real = path.canonicalize().map_err(absent)?;
    if !real.starts_with(folder.canonicalize().map_err(absent)?) {
        return Err(format!(
            "is in {}, a link out of the model's folder; copy the file there",
            path.display()
        ));
    }
    // A pipe would be waited for.
    if !real.metadata().map_err(absent)?.is_file() {
        return Err(format!("is in {}, which is no file", path.display()));
    }
    let mut file = File::open(&real).map_err(absent)?;
    let (start, wanted) = (offset as u64, length as u64);
    let there = file.metadata().map_err(absent)?.len();
    if start.checked_add(wanted).is_none_or(|end| end > there) {
        return Err(format!(
            "is {length} bytes at {offset} of {}, which has {there}; it is cut off, or of another \
             model",
            path.display()
        ));
    }
    file.seek(SeekFrom::Start(start)).map_err(absent)?;
    let mut bytes = Vec::with_capacity(length);
    file.take(wanted).read_to_end(&mut bytes).map_err(absent)?;
    Ok(bytes)
}

fn with_outputs(
    path: &Path,
    mut graph: Graph,
    outputs: &[(&str, &Value)],
) -> Result<Graph, ModelError> {
    for (name, value) in outputs {
        graph
            .output(name, value)
            .map_err(|error| failed(path, error.to_string()))?;
    }
    graph.simplify();
    Ok(graph)
}

fn latent_dim(path: &Path, graph: &Graph) -> Result<usize, ModelError> {
    let input = graph.inputs().first();
    match input.map(|input| graph.shape(input)).transpose()? {
        Some(&[Dim::Batch, Dim::Fixed(size)]) => Ok(size),
        _ => Err(failed(path, "its input is no [B, d]")),
    }
}

fn expect_latent(path: &Path, graph: &Graph, expected: usize) -> Result<(), ModelError> {
    let got = latent_dim(path, graph)?;
    if got == expected {
        return Ok(());
    }
    Err(failed(
        path,
        format!("its latents have size {got}, the generator's {expected}"),
    ))
}

fn only_output<'a>(
    path: &Path,
    outputs: &'a [Output],
) -> Result<(&'a Value, &'a Shape), ModelError> {
    match outputs {
        [(_, value, shape)] => Ok((value, shape)),
        _ => Err(misfit(path, outputs, "one")),
    }
}

fn misfit(path: &Path, outputs: &[Output], expected: &str) -> ModelError {
    if outputs.is_empty() {
        return failed(path, format!("it has no outputs, expected {expected}"));
    }
    let described: Vec<_> = outputs
        .iter()
        .map(|(name, _, shape)| {
            let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
            format!("{name}: [{}]", sizes.join(", "))
        })
        .collect();
    let reason = format!(
        "its outputs are {}, expected {expected}",
        described.join(", ")
    );
    failed(path, reason)
}

fn failed(path: &Path, reason: impl Into<String>) -> ModelError {
    ModelError::File {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}
