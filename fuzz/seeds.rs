//! Writes the first inputs of every fuzz target: `seeds FOLDER`.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use lfbm_bundle::manifest::{Contrast, ImageSpec, Intake};
use lfbm_detector::sites::Rule;
use lfbm_detector::{Calibration, LocalCalibration};
use lfbm_model::{
    GeneratorName, GeneratorSpec, PriorWeights, forward_graphs, posterior_graph, preprocess_graph,
};
use lfbm_onnx::{self as onnx, Graph, encode};
use lfbm_testkit::{
    checkpoint, memory_bank_of, random_flow, random_generator, random_images, site_calibration_of,
};
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::{DataType, Image, InferenceParameters, ScoreRequest, Tensor, image::Content};
use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::args().nth(1).ok_or("usage: seeds FOLDER")?;
    let out = Path::new(&out);
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(out.join(target))?;
        fs::write(out.join(target).join(name), bytes)
    };

    let grey = DynamicImage::from(GrayImage::from_fn(8, 8, |x, y| [(x * y * 4) as u8].into()));
    let colour = RgbImage::from_fn(8, 8, |x, y| [x as u8 * 30, y as u8 * 30, 128].into());
    let colour = DynamicImage::from(colour);
    for (name, image) in [
        ("grey8", grey.clone()),
        ("grey16", grey.to_luma16().into()),
        ("grey-alpha", grey.to_luma_alpha8().into()),
        ("rgb8", colour.clone()),
        ("rgba16", colour.to_rgba16().into()),
    ] {
        write(
            "image",
            &format!("{name}.png"),
            &file(&image, ImageFormat::Png)?,
        )?;
    }
    write("image", "grey.jpg", &file(&grey, ImageFormat::Jpeg)?)?;
    write("image", "rgb.jpg", &file(&colour, ImageFormat::Jpeg)?)?;
    let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/images/tests/files");
    for entry in fs::read_dir(kinds)? {
        let entry = entry?;
        fs::copy(entry.path(), out.join("image").join(entry.file_name()))?;
    }

    for (name, bytes) in requests() {
        write("request", name, &bytes)?;
    }

    write(
        "manifest",
        "manifest.json",
        include_bytes!("../models/mnist-not4/manifest.json"),
    )?;

    write("calibration", "pixels", &calibration([1, 1, 1])?)?;
    write("calibration", "images", &calibration([2, 5, 4])?)?;
    write("calibration", "sites", &calibration_of_sites(false)?)?;
    write("calibration", "places", &calibration_of_sites(true)?)?;

    write("checkpoint", "tensors", &tensors())?;

    for (name, graph) in graphs()? {
        write("onnx", name, &encode(&graph, None)?)?;
    }
    // As PyTorch's two exporters write them, and an operator each where Python has the package.
    fs::create_dir_all(out.join("import"))?;
    let exported = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/tests/exported");
    for entry in fs::read_dir(exported)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "onnx") {
            fs::copy(&path, out.join("import").join(entry.file_name()))?;
        }
    }
    operators(&out.join("import"))
}

/// Copies the models of the tests of `bundle/` to `out`.
fn operators(out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::temp_dir().join(format!("lfbm-seeds-{}", std::process::id()));
    let written = Command::new("python3")
        .arg(root.join("crates/onnx/tests/operators.py"))
        .arg(&folder)
        .env("PYTHONPATH", root.join("third_party/python"))
        .status();
    if written.is_ok_and(|status| status.success()) {
        for part in ["imported", "refused"] {
            for entry in fs::read_dir(folder.join(part))? {
                let entry = entry?;
                fs::copy(entry.path(), out.join(entry.file_name()))?;
            }
        }
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn file(image: &DynamicImage, format: ImageFormat) -> image::ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

/// A request of each kind for images of 4 x 4.
fn requests() -> [(&'static str, Vec<u8>); 4] {
    let floats = |value: f32| [value.to_le_bytes(); 16].concat();
    let tensor = |data_type: DataType, shape: &[u64], data: Vec<u8>| Tensor {
        data_type: data_type.into(),
        shape: shape.to_vec(),
        data,
    };
    let score = |image: Tensor, mask: Option<Tensor>| {
        let request = ScoreRequest {
            image: Some(Image {
                content: Some(Content::Tensor(image)),
            }),
            mask,
            inference: Some(InferenceParameters {
                steps: Some(20),
                step_size: Some(0.1),
                chains: Some(2),
                seed: Some(1),
                ..Default::default()
            }),
            ..Default::default()
        };
        request.encode_to_vec()
    };
    let bytes = tensor(DataType::Uint8, &[1, 4, 4], vec![7; 16]);
    let mask = tensor(DataType::Uint8, &[4, 4], [[0; 8], [1; 8]].concat());
    let reals = tensor(DataType::Float32, &[4, 4], floats(0.5));
    let infer = ModelInferRequest {
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![2, 1, 4, 4],
            ..Default::default()
        }],
        raw_input_contents: vec![[floats(0.25), floats(0.5)].concat()],
        ..Default::default()
    };
    [
        ("uint8", score(bytes.clone(), None)),
        ("float32", score(reals, None)),
        ("masked", score(bytes, Some(mask))),
        ("model-infer", infer.encode_to_vec()),
    ]
}

/// A `calibration.bin` of forty images of sizes C, H, W.
fn calibration(image: [usize; 3]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let [channels, height, width] = image;
    let image_spec = ImageSpec {
        channels,
        height,
        width,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    };
    let x = random_images(&image_spec, 40, 1);
    let local = LocalCalibration::new(memory_bank_of(&x, image)?, &x, &[0.0; 40])?;
    let calibration = Calibration::new(vec![-1.0; 40], vec![4.0; 40], local)?;
    Ok(calibration.encode())
}

/// A checkpoint of two tensors.
fn tensors() -> Vec<u8> {
    let weight = onnx::Tensor::new([2, 3], vec![0.5; 6]);
    let bias = onnx::Tensor::new([2], vec![-1.0, 1.0]);
    checkpoint(&[("weight", &weight), ("bias", &bias)])
}

/// A `calibration.bin` of thirty images of 2 x 3 sites.
fn calibration_of_sites(by_place: bool) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let rule = Rule {
        weights: [0.5, 1.0],
        by_place,
        smoothing: 0.5,
        centre: !by_place,
        share: 0.5,
    };
    let sites = site_calibration_of(30, rule)?;
    let calibration = Calibration::new(vec![-1.0; 30], vec![4.0; 30], sites)?;
    Ok(calibration.encode())
}

/// The graphs of a bundle, as small as they come.
fn graphs() -> Result<[(&'static str, Graph); 5], Box<dyn std::error::Error>> {
    let image = ImageSpec {
        channels: 1,
        height: 28,
        width: 28,
        value_range: [-1.0, 1.0],
        contrast: Contrast::UnitNorm { norm: 9.0 },
        intake: Intake::STRETCH,
    };
    let spec = GeneratorSpec {
        name: GeneratorName::Mnist,
        latent_dim: 2,
        width: 1,
        channels: 1,
        height: 28,
        width_px: 28,
    };
    let weights = random_generator(&spec, 1)?;
    let forward = forward_graphs(
        preprocess_graph(&image)?,
        &spec,
        &weights,
        &PriorWeights::Flow(random_flow(2, 1, 2, 1)),
    )?;
    let posterior = posterior_graph(&forward.generator, &forward.flow, image.shape(), 2, 0.3)?;
    Ok([
        ("preprocess", forward.preprocess),
        ("generator", forward.generator),
        ("flow", forward.flow),
        (
            "prior",
            forward.prior.ok_or("a flow is sampled by a graph")?,
        ),
        ("posterior", posterior),
    ])
}
