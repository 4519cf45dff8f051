//! Models whose chains start at an encoder, on the same server.

use futures_util::future::join_all;
use lfbm_bundle::manifest;
use lfbm_bundle::manifest::Langevin;
use lfbm_model::GeneratorName;
use lfbm_model::pixels::from_bytes;
use lfbm_runtime::{Inference, Runtime, SessionOptions};
use lfbm_testkit::{RandomModel, random_bundle_of};
use lfbm_wire::{ChainStart, InferenceParameters, InpaintRequest, ListModelsRequest, ScoreRequest};

use crate::common::{Server, client, close, encoded, pixels, png};
use crate::images::{distance, half, intensities};

#[tokio::test]
async fn chains_start_at_the_encoder_and_hidden_pixels_do_not_reach_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle");
    let runtime = Runtime::load(None).unwrap();
    let model = RandomModel {
        chain_start: manifest::ChainStart::Encoder,
        ..RandomModel::new(GeneratorName::Mnist, 8, 4, 1)
    };
    let bundle = random_bundle_of(&path, &runtime, model).unwrap();
    let manifest = bundle.manifest();
    let server = Server::start(&path, folder.path(), &[]);
    let mut client = client(&server).await;

    let models = client.list_models(ListModelsRequest {}).await.unwrap();
    let models = models.into_inner().models;
    assert_eq!(models[0].chain_start(), ChainStart::Encoder);
    assert_eq!(models[0].inference.unwrap().steps(), 0);

    // Without steps, and with some from there; requests of both kinds share batches.
    let asked = |index: usize| {
        (
            index as u64 % 3,
            7 * (index as u32 % 3),
            1 + index as u32 % 2,
        )
    };
    let replies = join_all((0..48).map(|index| {
        let (seed, steps, chains) = asked(index);
        let request = ScoreRequest {
            inference: Some(InferenceParameters {
                seed: Some(seed),
                steps: (steps > 0).then_some(steps),
                chains: Some(chains),
                ..Default::default()
            }),
            ..encoded(png(pixels(&manifest.image, index)))
        };
        let mut client = client.clone();
        async move { client.score(request).await.unwrap().into_inner() }
    }))
    .await;
    let options = SessionOptions::default();
    let mut direct = Inference::open(&runtime, &path, manifest, &options).unwrap();
    let mut priors = Vec::new();
    for (index, reply) in replies.iter().enumerate() {
        let (seed, steps, chains) = asked(index);
        let langevin = Langevin {
            steps,
            chains,
            ..manifest.langevin
        };
        let image: Vec<f32> = from_bytes(&pixels(&manifest.image, index)).collect();
        let expected = direct.score(&image, &langevin, seed, &mut |_| ()).unwrap();
        let (got, expected) = (reply.log_joint, expected[0].log_joint);
        assert!(close(got, expected), "{index}: {got}, {expected}");
        priors.push(reply.log_prior);
    }
    priors.dedup();
    assert_eq!(priors.len(), replies.len(), "every image has its start");

    // The lower half is hidden.
    let mask = half(manifest);
    let bytes = pixels(&manifest.image, 1);
    let inverted = |visible| {
        let pixels = bytes.iter().zip(&mask.data);
        let changed = pixels.map(|(byte, seen)| if *seen == visible { 255 - byte } else { *byte });
        changed.collect::<Vec<u8>>()
    };
    let mut completed = async |bytes: Vec<u8>| {
        let request = InpaintRequest {
            image: encoded(png(bytes)).image,
            mask: Some(mask.clone()),
            ..Default::default()
        };
        let reply = client.inpaint(request).await.unwrap().into_inner();
        let images = reply.completions.into_iter();
        let images = images.map(|completion| intensities(&completion.image.unwrap()));
        let lower = images.flat_map(|image| image[image.len() / 2..].to_vec());
        lower.collect::<Vec<_>>()
    };
    let plain = completed(bytes.clone()).await;
    assert!(distance(&completed(inverted(0)).await, &plain) < 1e-5);
    assert!(distance(&completed(inverted(1)).await, &plain) > 1e-3);
}
