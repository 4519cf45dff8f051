//! `Explain`, `Inpaint` and `Sample`: calls that answer with images.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Manifest;
use lfbm_model::GeneratorName;
use lfbm_model::pixels::{from_bytes, from_x};
use lfbm_runtime::{Inference, Runtime, SCORE_SEED, SessionOptions};
use lfbm_testkit::random_bundle;
use lfbm_wire::image::Content;
use lfbm_wire::{
    DataType, ExplainRequest, Image, ImageForm, InferenceParameters, InpaintRequest,
    InpaintResponse, RenderedImage, SampleRequest, ScoreRequest, Tensor,
};
use tonic::Code;

use crate::common::{Server, bundle, client, close, encoded, pixels, png};

fn floats(tensor: &Tensor) -> Vec<f32> {
    assert_eq!(tensor.data_type(), DataType::Float32);
    let values = tensor.data.as_chunks().0.iter();
    values.map(|value| f32::from_le_bytes(*value)).collect()
}

/// The intensities of a reply's image, which are the same in both of its forms.
pub(crate) fn intensities(image: &RenderedImage) -> Vec<f32> {
    let values = floats(image.tensor.as_ref().unwrap());
    let picture = image::load_from_memory(&image.png).unwrap();
    let drawn: Vec<f32> = from_bytes(&picture.to_luma8()).collect();
    assert_eq!(values.len(), drawn.len());
    for (value, drawn) in values.iter().zip(drawn) {
        assert!((value - drawn).abs() <= 0.5 / 255.0 + 1e-6);
    }
    values
}

pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    (squares.sum::<f32>() / a.len() as f32).sqrt()
}

#[tokio::test]
async fn a_colour_image_is_scored_in_every_form_and_drawn_in_colour() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let dir = folder.path().join("bundle");
    let bundle = random_bundle(&dir, &runtime, GeneratorName::Svhn, 8, 2, 1).unwrap();
    let manifest = bundle.manifest();
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;

    // Planes in the tensor, interleaved in the PNG.
    let planes = pixels(&manifest.image, 3);
    let positions = manifest.image.positions();
    let picture = RgbImage::from_fn(32, 32, |x, y| {
        let position = (y * 32 + x) as usize;
        Rgb([0, 1, 2].map(|channel| planes[channel * positions + position]))
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    let as_png = encoded(file.into_inner());
    let tensor = Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![3, 32, 32],
        data: planes.clone(),
    };
    let as_tensor = ScoreRequest {
        image: Some(Image {
            content: Some(Content::Tensor(tensor)),
        }),
        ..Default::default()
    };
    let image: Vec<f32> = from_bytes(&planes).collect();
    let mut inference = open(&bundle, manifest);
    let direct = inference.score(&image, &manifest.langevin, SCORE_SEED, &mut |_| ());
    let direct = direct.unwrap()[0].log_joint;
    for request in [as_png, as_tensor] {
        let score = client.score(request).await.unwrap().into_inner();
        assert!(
            close(score.log_joint, direct),
            "{} {direct}",
            score.log_joint
        );
    }

    let request = SampleRequest {
        count: 1,
        ..Default::default()
    };
    let reply = client.sample(request).await.unwrap().into_inner();
    let drawn = image::load_from_memory(&reply.images[0].png).unwrap();
    assert_eq!(drawn.color(), image::ColorType::Rgb8);
    // A grey file becomes RGB; a tensor has the model's channels.
    client.score(encoded(png(vec![7; 784]))).await.unwrap();
    let mut grey = encoded(Vec::new());
    grey.image = Some(Image {
        content: Some(Content::Tensor(Tensor {
            data_type: DataType::Uint8.into(),
            shape: vec![28, 28],
            data: vec![7; 784],
        })),
    });
    let status = client.score(grey).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}

#[tokio::test]
async fn an_explanation_is_of_the_score_and_of_the_best_chain() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let manifest = bundle.manifest();
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let bytes = pixels(&manifest.image, 5);
    let scored = ScoreRequest {
        inference: Some(InferenceParameters {
            chains: Some(3),
            seed: Some(4),
            ..Default::default()
        }),
        ..encoded(png(bytes.clone()))
    };
    let request = ExplainRequest {
        image: scored.image.clone(),
        inference: scored.inference,
        ..Default::default()
    };
    let reply = client.explain(request.clone()).await.unwrap().into_inner();
    let score = client.score(scored).await.unwrap().into_inner();
    assert!(close(reply.score.unwrap().log_joint, score.log_joint));
    let mean = reply.chains.iter().map(|c| c.log_joint).sum::<f64>() / 3.0;
    assert_eq!(reply.chains.len(), 3);
    assert!(close(mean, score.log_joint));

    let image: Vec<f32> = from_bytes(&bytes).collect();
    let mut inference = open(&bundle, manifest);
    let langevin = lfbm_bundle::manifest::Langevin {
        chains: 3,
        ..manifest.langevin
    };
    let direct = inference.score(&image, &langevin, 4, &mut |_| ()).unwrap();
    let x = inference.reconstruct(&direct[0].z).unwrap();
    let expected = from_x(&x, &manifest.image, Some(&image));
    let reconstruction = intensities(&reply.reconstruction.unwrap());
    assert!(distance(&reconstruction, &expected) < 1e-3);

    let residual = reply.residual.unwrap();
    let differences = floats(residual.tensor.as_ref().unwrap());
    let sum: Vec<f32> = differences
        .iter()
        .zip(&reconstruction)
        .map(|(a, b)| a + b)
        .collect();
    assert!(distance(&sum, &image) < 1e-5);
    let heat = image::load_from_memory(&residual.png).unwrap().to_rgb8();
    for (pixel, difference) in heat.pixels().zip(&differences) {
        let [red, _, blue] = pixel.0;
        let brighter = i16::from(red) - i16::from(blue);
        assert!((f32::from(brighter) / 255.0 - difference).abs() < 0.01);
    }

    // A part that is hidden is not compared, and one form is as good as both.
    let mask = half(manifest);
    let request = ExplainRequest {
        mask: Some(mask.clone()),
        form: ImageForm::Tensor.into(),
        ..request
    };
    let reply = client.explain(request).await.unwrap().into_inner();
    let residual = reply.residual.unwrap();
    assert!(residual.png.is_empty());
    let residual = floats(residual.tensor.as_ref().unwrap());
    for (difference, visible) in residual.iter().zip(&mask.data) {
        assert!(*visible == 1 || *difference == 0.0);
    }
    assert!(residual.iter().any(|difference| *difference != 0.0));
}

fn open(bundle: &Bundle, manifest: &Manifest) -> Inference {
    let runtime = Runtime::load(None).unwrap();
    Inference::open(&runtime, bundle.dir(), manifest, &SessionOptions::default()).unwrap()
}

/// Hides the lower half.
pub(crate) fn half(manifest: &Manifest) -> Tensor {
    let (height, width) = (manifest.image.height, manifest.image.width);
    let visible = (0..height * width).map(|position| u8::from(position < height * width / 2));
    Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![height as u64, width as u64],
        data: visible.collect(),
    }
}

/// The bundle that ships; it normalises contrast.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mnist-not4")
}

#[tokio::test]
async fn a_reconstruction_has_the_contrast_of_its_image() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&shipped(), folder.path(), &[]);
    let mut client = client(&server).await;
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/model-3.png");
    let bright = image::open(sample).unwrap().to_luma8().into_raw();
    for bytes in [bright.iter().map(|v| v / 4).collect(), bright] {
        let request = ExplainRequest {
            image: encoded(png(bytes.clone())).image,
            ..Default::default()
        };
        let reply = client.explain(request).await.unwrap().into_inner();
        let image: Vec<f32> = from_bytes(&bytes).collect();
        let reconstruction = intensities(&reply.reconstruction.unwrap());
        let black = vec![0.0; image.len()];
        // The model knows such digits: most of the image is in its reconstruction.
        let (error, size) = (distance(&image, &reconstruction), distance(&image, &black));
        assert!(error < 0.4 * size, "{error} of {size}");
    }
}

#[tokio::test]
async fn completions_keep_what_is_visible_and_know_nothing_of_what_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&shipped(), folder.path(), &[]);
    let manifest = Bundle::open(&shipped()).unwrap().manifest().clone();
    let mut client = client(&server).await;
    let mask = half(&manifest);
    let bytes = pixels(&manifest.image, 1);
    let mut others = bytes.clone();
    for (byte, visible) in others.iter_mut().zip(&mask.data) {
        *byte = if *visible == 1 { *byte } else { 255 - *byte };
    }
    let mut inpaint = async |bytes: Vec<u8>, seed| {
        let request = InpaintRequest {
            image: encoded(png(bytes)).image,
            mask: Some(mask.clone()),
            inference: Some(InferenceParameters {
                seed: Some(seed),
                ..Default::default()
            }),
            ..Default::default()
        };
        client.inpaint(request).await.unwrap().into_inner()
    };
    let reply = inpaint(bytes.clone(), 1).await;
    assert_eq!(reply.model.as_ref().unwrap().name, "mnist-not4");
    let images: Vec<_> = reply
        .completions
        .iter()
        .map(|completion| intensities(completion.image.as_ref().unwrap()))
        .collect();
    assert_eq!(images.len(), 4);
    let image: Vec<f32> = from_bytes(&bytes).collect();
    for completed in &images {
        for (index, visible) in mask.data.iter().enumerate() {
            assert!(*visible == 0 || (completed[index] - image[index]).abs() < 1e-6);
        }
    }
    assert!(distance(&images[0], &images[1]) > 0.0, "chains differ");
    let scores: Vec<_> = reply.completions.iter().map(|c| c.score.unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a.log_joint >= b.log_joint));
    let mut chains: Vec<_> = reply.completions.iter().map(|c| c.chain).collect();
    chains.sort_unstable();
    assert_eq!(chains, [0, 1, 2, 3]);

    let blind = inpaint(others, 1).await;
    for (completed, again) in images.iter().zip(&blind.completions) {
        assert!(distance(completed, &intensities(again.image.as_ref().unwrap())) < 1e-4);
    }
    // The first chain starts at the encoder's mean, whatever the seed.
    let second = |reply: &InpaintResponse| {
        let mut completions = reply.completions.iter();
        let completion = completions
            .find(|completion| completion.chain == 1)
            .unwrap();
        intensities(completion.image.as_ref().unwrap())
    };
    let other = inpaint(bytes.clone(), 2).await;
    assert!(
        distance(&second(&reply), &second(&other)) > 0.0,
        "seeds differ"
    );

    let unmasked = InpaintRequest {
        image: encoded(png(bytes)).image,
        ..Default::default()
    };
    let status = client.inpaint(unmasked).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("mask"), "{status:?}");
}

#[tokio::test]
async fn samples_are_those_of_the_prior() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let manifest = bundle.manifest();
    let flags = ["--max-samples", "9"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let mut sample = async |count, form: ImageForm| {
        let request = SampleRequest {
            count,
            seed: Some(3),
            form: form.into(),
            ..Default::default()
        };
        client
            .sample(request)
            .await
            .map(|reply| reply.into_inner().images)
    };
    let images = sample(9, ImageForm::Unspecified).await.unwrap();
    let x = open(&bundle, manifest).sample_prior(9, 3).unwrap();
    for (image, x) in images.iter().zip(x.chunks(manifest.image.pixels())) {
        let expected = from_x(x, &manifest.image, None);
        assert!(distance(&intensities(image), &expected) < 1e-4);
    }
    let few = sample(2, ImageForm::Png).await.unwrap();
    assert_eq!(few.len(), 2);
    assert!(few[0].tensor.is_none() && few[0].png == images[0].png);
    for count in [0, 10] {
        let status = sample(count, ImageForm::Png).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("1 to 9"), "{status:?}");
    }
}
