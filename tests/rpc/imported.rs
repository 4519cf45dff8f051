//! A model whose graphs came from files, without the inverse of its flow.

use lfbm_bundle::manifest::Decision;
use lfbm_bundle::{BundleSpec, StagedBundle};
use lfbm_model::{ModelFiles, imported_graphs};
use lfbm_wire::SampleRequest;
use tonic::Code;
use tonic_types::StatusExt;

use crate::common::{Server, bundle, client, close, encoded, pixels, png};

#[tokio::test]
async fn it_scores_as_ever_and_says_why_it_does_not_sample() {
    let folder = tempfile::tempdir().unwrap();
    let whole = bundle(folder.path());
    let manifest = whole.manifest();
    let files = ModelFiles {
        generator: whole.dir().join("generator.onnx"),
        flow: Some(whole.dir().join("flow.onnx")),
        prior: None,
    };
    let (graphs, image, latent_dim) = imported_graphs(&files, manifest.image.value_range).unwrap();
    assert_eq!((image, latent_dim), (manifest.image, manifest.latent_dim));
    let spec = BundleSpec {
        name: "imported".to_owned(),
        version: 1,
        image,
        representation: manifest.representation.clone(),
        latent_dim,
        sigma: manifest.sigma,
        prior: manifest.prior,
        prior_sampling: None,
        generator: "imported".to_owned(),
        langevin: manifest.langevin,
        classes: manifest.classes.clone(),
        training: serde_json::Value::Null,
    };
    let out = folder.path().join("imported");
    let staged = StagedBundle::stage(&out, spec, &graphs, false).unwrap();
    staged
        .finish(whole.calibration(), 0.05, Decision::Local)
        .unwrap();

    let mut scores = Vec::new();
    for dir in [whole.dir(), &out] {
        let server = Server::start(dir, folder.path(), &[]);
        let mut client = client(&server).await;
        let request = encoded(png(pixels(&image, 1)));
        let score = client.score(request).await.unwrap().into_inner();
        scores.push(score.log_joint);
        let request = SampleRequest {
            count: 1,
            ..Default::default()
        };
        let sampled = client.sample(request).await;
        if dir == whole.dir() {
            assert!(sampled.is_ok(), "{sampled:?}");
            continue;
        }
        let status = sampled.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert!(status.message().contains("--prior"), "{status:?}");
        let reason = status.get_error_details().error_info().cloned().unwrap();
        assert_eq!(reason.reason, "NO_PRIOR_GRAPH");
    }
    assert!(close(scores[1], scores[0]), "{scores:?}");
}
