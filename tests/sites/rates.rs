//! Verdicts at other false-alarm rates.

use image::GrayImage;
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Decision;
use lfbm_detector::smallest_rate;
use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::{RandomSites, random_bundle};
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{GetModelRequest, ScoreRequest, Verdict};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::common::{Server, client, command, encoded};
use crate::{bundle, picture, png, with_map};

/// The verdict of a score at a rate, as the calibration says it.
async fn assert_rate(
    client: &mut AnomalyDetectorClient<Channel>,
    bundle: &Bundle,
    image: &GrayImage,
    rate: Option<f64>,
    in_use: f64,
) {
    let request = ScoreRequest {
        false_alarm_rate: rate,
        ..with_map(image)
    };
    let reply = client.score(request).await.unwrap().into_inner();
    let decision = bundle.manifest().calibration.decision;
    let expected = bundle.calibration().summary(in_use, decision);
    assert_eq!(reply.false_alarm_rate, Some(in_use));
    assert_eq!(reply.map_threshold, expected.map_threshold);
    let compared = reply.site_score.or(reply.local_score).unwrap();
    let anomalous = expected.anomalous(reply.log_joint, compared);
    assert_eq!(reply.verdict() == Verdict::Anomalous, anomalous);
    if let Some(map) = &reply.map {
        let above = |value: &&f32| f64::from(**value) > map.threshold;
        assert_eq!(Some(map.threshold), expected.map_threshold);
        let any = map.values.iter().filter(above).count() > 0;
        assert_eq!(any, !reply.regions.is_empty());
    }
}

#[tokio::test]
async fn verdicts_follow_the_rate_of_the_request_or_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let whole = random_bundle(
        &folder.path().join("whole"),
        &runtime,
        GeneratorName::Mlp,
        8,
        4,
        1,
    );
    let sites = |name, decision| {
        let model = RandomSites {
            decision,
            ..RandomSites::new(7)
        };
        bundle(folder.path(), name, model)
    };
    let bundles = [
        whole.unwrap(),
        sites("sites", Decision::Sites),
        sites("log-joint", Decision::LogJoint),
    ];
    for bundle in bundles {
        let smallest = smallest_rate(bundle.calibration().ranked());
        let server = Server::start(bundle.dir(), folder.path(), &[]);
        let mut client = client(&server).await;
        let model = client.get_model(GetModelRequest::default()).await.unwrap();
        let model = model.into_inner().model.unwrap();
        assert_eq!(model.smallest_false_alarm_rate, smallest);
        assert_eq!(model.ranked_images as usize, bundle.calibration().ranked());
        for side in [0, 16] {
            let image = picture(32, 32, [8, 8, side]);
            for rate in [smallest, 0.3, 0.9, 0.999] {
                assert_rate(&mut client, &bundle, &image, Some(rate), rate).await;
            }
            assert_rate(&mut client, &bundle, &image, None, 0.05).await;
        }
        for rate in [0.001, 0.0, 1.0, -1.0, f64::NAN] {
            let request = ScoreRequest {
                false_alarm_rate: Some(rate),
                ..encoded(png(&picture(32, 32, [0; 3])))
            };
            let status = client.score(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            let details = status.get_details_bad_request().unwrap();
            let [violation] = &details.field_violations[..] else {
                panic!("{details:?}");
            };
            assert_eq!(violation.field, "false_alarm_rate");
            let needs = violation.description.contains("takes at least");
            assert_eq!(needs, rate == 0.001, "{}", violation.description);
        }
        drop(server);
        let flags = ["--false-alarm-rate", "0.2", "--model-poll-s", "1"];
        let server = Server::start(bundle.dir(), folder.path(), &flags);
        let mut client = crate::common::client(&server).await;
        let image = picture(32, 32, [8, 8, 16]);
        assert_rate(&mut client, &bundle, &image, None, 0.2).await;
        assert_rate(&mut client, &bundle, &image, Some(0.4), 0.4).await;
        let model = client.get_model(GetModelRequest::default()).await.unwrap();
        assert_eq!(model.into_inner().model.unwrap().false_positive_rate, 0.2);
    }
}

#[test]
fn a_server_does_not_start_at_a_rate_that_a_model_cannot_tell() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "sites", RandomSites::new(7));
    let mut command = command(bundle.dir());
    let output = command
        .args(["--false-alarm-rate", "0.001"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--false-alarm-rate: expected"), "{errors}");
}
