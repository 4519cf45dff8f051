//! Scores, maps and regions.

use lfbm_bundle::manifest::{Decision, Intake, Langevin};
use lfbm_images::Fit;
use lfbm_model::pixels::{from_bytes, from_x};
use lfbm_runtime::{Decoder, Inference, Runtime, SCORE_SEED, SessionOptions};
use lfbm_testkit::RandomSites;
use lfbm_wire::{
    ExplainRequest, ImageForm, InferenceParameters, NearestBy, RenderedImage, RepresentationKind,
    ScoreRequest, ScoreResponse, Verdict,
};

use crate::common::{Server, client, encoded, metric};
use crate::{assert_as_offline, bundle, offline, picture, png, with_map};

#[tokio::test]
async fn scores_and_maps_are_those_of_an_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    for (name, chains, decision) in [("one", 1, Decision::Sites), ("two", 3, Decision::LogJoint)] {
        let model = RandomSites {
            chains,
            decision,
            ..RandomSites::new(3)
        };
        let bundle = bundle(folder.path(), name, model);
        let server = Server::start(bundle.dir(), folder.path(), &[]);
        let mut client = client(&server).await;
        let calibration = &bundle.manifest().calibration;
        for side in [0, 16] {
            let image = picture(32, 32, [8, 8, side]);
            let reply = client.score(with_map(&image)).await.unwrap().into_inner();
            let expected = offline(&bundle, &image);
            assert_as_offline(&reply, &expected);
            let of_sites = bundle.calibration().sites().unwrap();
            assert_eq!(reply.site_p_value, Some(of_sites.p_value(expected.1)));
            let anomalous = calibration.anomalous(expected.0.log_joint, expected.1);
            assert_eq!(reply.verdict() == Verdict::Anomalous, anomalous);
            assert_eq!(reply.representation(), RepresentationKind::Pixels);
            assert_eq!(reply.map_threshold, calibration.map_threshold);
            assert_eq!(reply.false_alarm_rate, Some(0.05));
            assert_eq!((reply.local_score, reply.local_p_value), (None, None));
            // What is not asked for does not come.
            let brief = client
                .score(encoded(png(&image)))
                .await
                .unwrap()
                .into_inner();
            assert!(brief.map.is_none());
            assert_eq!(brief.regions, reply.regions);
        }
        let sites = 4.0 * 16.0;
        assert_eq!(metric(&server, "lfbm_sites_total", ""), sites);
        let read = metric(&server, "lfbm_reading_duration_seconds_count", "");
        assert_eq!(read, 4.0);
    }
}

/// The one region of a reply, which must be around the square, up to the size of a cell.
fn assert_around(reply: &ScoreResponse, square: [u32; 3], cell: [f64; 2]) {
    let peak = &reply.regions[0];
    let [left, top, side] = square.map(f64::from);
    let bounds = peak.bounds.unwrap();
    for (start, length, first, cell) in [
        (bounds.x, bounds.width, left, cell[0]),
        (bounds.y, bounds.height, top, cell[1]),
    ] {
        assert!((start - first).abs() <= cell + 1e-6, "{reply:?}");
        let end = start + length;
        assert!((end - first - side).abs() <= cell + 1e-6, "{reply:?}");
    }
    let at = peak.peak_at.unwrap();
    for (at, first, cell) in [(at.x, left, cell[0]), (at.y, top, cell[1])] {
        assert!(
            (first - cell..=first + side + cell).contains(&at),
            "{reply:?}"
        );
    }
    assert!(peak.area <= bounds.width * bounds.height + 1e-6);
}

#[tokio::test]
async fn regions_are_in_pixels_of_the_image_as_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    for fit in [Fit::Stretch, Fit::Pad, Fit::Crop] {
        let model = RandomSites {
            intake: Intake { crop: None, fit },
            ..RandomSites::new(5)
        };
        let bundle = bundle(folder.path(), &fit.to_string(), model);
        let server = Server::start(bundle.dir(), folder.path(), &[]);
        let mut client = client(&server).await;
        for [width, height] in [[32, 32], [320, 320], [256, 128], [20, 40]] {
            // Wide enough to fill a cell, however the image is placed.
            let short = width.min(height);
            let side = if width == height { short / 2 } else { short };
            let square = [(width - side) / 2, (height - side) / 2, side];
            let image = picture(width, height, square);
            let reply = client.score(with_map(&image)).await.unwrap().into_inner();
            let bounds = reply.map.as_ref().unwrap().bounds.unwrap();
            let cell = [bounds.width / 4.0, bounds.height / 4.0];
            assert_around(&reply, square, cell);
            let covered = match fit {
                Fit::Stretch => [0.0, 0.0, width.into(), height.into()],
                Fit::Pad | Fit::Crop => {
                    let long = f64::from(width.max(height));
                    let short = f64::from(width.min(height));
                    let side = if fit == Fit::Pad { long } else { short };
                    let [w, h] = [width, height].map(f64::from);
                    [(w - side) / 2.0, (h - side) / 2.0, side, side]
                }
            };
            let got = [bounds.x, bounds.y, bounds.width, bounds.height];
            for (got, covered) in got.iter().zip(covered) {
                // Rounded to whole pixels of the model.
                assert!(
                    (got - covered).abs() <= cell[0].max(cell[1]) / 2.0,
                    "{fit}: {got} {covered}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_explanation_has_the_map_and_a_picture_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "sites", RandomSites::new(5));
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let image = picture(64, 64, [16, 16, 32]);
    let score = encoded(png(&image));
    let mut request = ExplainRequest {
        image: score.image.clone(),
        ..Default::default()
    };
    let reply = client.explain(request.clone()).await.unwrap().into_inner();
    let scored = reply.score.unwrap();
    assert_eq!(scored.map.as_ref().unwrap().values.len(), 16);
    assert!(reply.reconstruction.is_none() && reply.residual.is_none());
    assert!(reply.chains.is_empty());
    let overlay = image::load_from_memory(&reply.overlay).unwrap().to_rgb8();
    assert_eq!(overlay.dimensions(), (32, 32));
    let grey = |x, y| {
        let [r, g, b] = overlay.get_pixel(x, y).0;
        r == g && g == b
    };
    let at = scored.regions[0].peak_at.unwrap();
    assert!(
        !grey((at.x / 2.0) as u32, (at.y / 2.0) as u32),
        "colour at the peak"
    );
    // The site of the memory bank that is nearest to the one at the peak.
    let [nearest] = &reply.nearest_normals[..] else {
        panic!("{:?}", reply.nearest_normals);
    };
    assert_eq!((nearest.by(), nearest.at), (NearestBy::Site, Some(at)));
    let number = nearest.file.strip_prefix("normal/").unwrap();
    let number: u32 = number.strip_suffix(".png").unwrap().parse().unwrap();
    let bank = bundle.calibration().sites().unwrap().bank();
    assert!(bank.images().contains(&number) && nearest.distance > 0.0);

    request.form = ImageForm::Tensor.into();
    let tensors = client.explain(request).await.unwrap().into_inner();
    assert!(tensors.overlay.is_empty() && tensors.score.unwrap().map.is_some());
}

/// A model of features of the whole image, whose decoder makes pixels of the latent.
#[tokio::test]
async fn an_explanation_by_a_decoder_has_a_reconstruction() {
    let folder = tempfile::tempdir().unwrap();
    let model = RandomSites {
        rows: 1,
        columns: 1,
        tile: 16,
        decoder: true,
        ..RandomSites::new(5)
    };
    let bundle = bundle(folder.path(), "features", model);
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let image = picture(16, 16, [4, 4, 8]);
    let score = encoded(png(&image));
    let inference = InferenceParameters {
        chains: Some(3),
        ..Default::default()
    };
    let request = ExplainRequest {
        image: score.image.clone(),
        inference: Some(inference),
        ..Default::default()
    };
    let reply = client.explain(request).await.unwrap().into_inner();
    assert_eq!(reply.chains.len(), 3);
    let runtime = Runtime::load(None).unwrap();
    let (manifest, options) = (bundle.manifest(), SessionOptions::default());
    let mut offline = Inference::open(&runtime, bundle.dir(), manifest, &options).unwrap();
    let intensities: Vec<f32> = from_bytes(image.as_raw()).collect();
    let x = offline.preprocess(&intensities).unwrap();
    let langevin = Langevin {
        chains: 3,
        ..manifest.langevin
    };
    let scores = offline
        .score(&x, &langevin, SCORE_SEED, &mut |_| ())
        .unwrap();
    let mut decoder = Decoder::open(&runtime, bundle.dir(), manifest, &options).unwrap();
    let mut decoded = vec![0.0; 256];
    decoder.run(1, &scores[0].z, &mut decoded).unwrap();
    let floats = |rendered: Option<RenderedImage>| -> Vec<f32> {
        let tensor = rendered.unwrap().tensor.unwrap();
        let (values, _) = tensor.data.as_chunks();
        values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect()
    };
    let expected = from_x(&decoded, &manifest.image, None);
    let made = floats(reply.reconstruction);
    assert_eq!((made.len(), expected.len()), (256, 256));
    for (made, expected) in made.iter().zip(&expected) {
        assert!((made - expected).abs() < 1e-5, "{made} {expected}");
    }
    let residual = floats(reply.residual);
    assert_eq!(residual.len(), 256);
    for ((residual, made), image) in residual.iter().zip(&made).zip(image.as_raw()) {
        assert!((residual + made - f32::from(*image) / 255.0).abs() < 1e-5);
    }
    assert!(image::load_from_memory(&reply.overlay).is_ok());
}

#[tokio::test]
async fn a_request_without_the_models_parameters_has_no_map() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "sites", RandomSites::new(5));
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let inference = Some(InferenceParameters {
        chains: Some(2),
        ..Default::default()
    });
    let request = ScoreRequest {
        inference,
        ..with_map(&picture(32, 32, [8, 8, 16]))
    };
    let reply = client.score(request).await.unwrap().into_inner();
    assert!(reply.log_joint.is_finite() && reply.log_joint_std > 0.0);
    assert_eq!(reply.verdict(), Verdict::Unspecified);
    assert!(reply.map.is_none() && reply.regions.is_empty() && reply.site_score.is_none());
}
