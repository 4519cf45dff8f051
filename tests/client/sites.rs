//! Models of sites.

use std::fs;

use image::{GrayImage, Luma};
use lfbm_runtime::Runtime;
use lfbm_testkit::{RandomSites, random_site_bundle};
use tempfile::TempDir;

use crate::common::Server;
use crate::{json, lfbm, stdout};

/// A server of a model of 4 x 4 tiles of 8 x 8 pixels, and the path of an image, twice as large, with a fault in
/// the middle.
fn serve() -> (Server, String, TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let bundle = scratch.path().join("bundle");
    random_site_bundle(&bundle, &runtime, RandomSites::new(5)).unwrap();
    let server = Server::start(&bundle, scratch.path(), &[]);
    let image = GrayImage::from_fn(64, 64, |x, y| {
        let fault = (16..48).contains(&x) && (16..48).contains(&y);
        Luma([if fault { 255 } else { 128 }])
    });
    let path = scratch.path().join("part.png");
    image.save(&path).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (server, path, scratch)
}

#[test]
fn scores_have_regions_and_a_map_when_asked() {
    let (server, part, _scratch) = serve();
    let scored = json(&lfbm(&server, &["score", "--json", "--map", &part]));
    let regions = scored["regions"].as_array().unwrap();
    assert_eq!(scored["region_count"], regions.len());
    assert_eq!(scored["map"]["values"].as_array().unwrap().len(), 16);
    assert_eq!(scored["map"]["bounds"]["width"], 64.0);
    let peak = &regions[0]["peak_at"];
    let middle = |axis: &str| (16.0..48.0).contains(&peak[axis].as_f64().unwrap());
    assert!(middle("x") && middle("y"), "{scored}");
    assert!(json(&lfbm(&server, &["score", "--json", &part]))["map"].is_null());

    let table = stdout(&lfbm(&server, &["score", &part]));
    assert!(
        table.contains("site p-value") && table.contains("regions"),
        "{table}"
    );
    let csv = stdout(&lfbm(&server, &["score", "--format", "csv", &part]));
    let [names, values] = csv.lines().collect::<Vec<_>>()[..] else {
        panic!("{csv}");
    };
    let column = names.split(',').position(|name| name == "region_count");
    let count = values.split(',').nth(column.unwrap()).unwrap();
    assert_eq!(count, regions.len().to_string());
}

#[test]
fn a_rate_that_the_model_cannot_tell_is_an_error() {
    let (server, part, _scratch) = serve();
    let at = |rate: &str| {
        lfbm(
            &server,
            &["score", "--json", "--false-alarm-rate", rate, &part],
        )
    };
    assert_eq!(json(&at("0.2"))["false_alarm_rate"], 0.2);
    let refused = at("0.001");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(errors.contains("false_alarm_rate: expected"), "{errors}");
}

#[test]
fn an_explanation_is_a_picture_and_a_list_of_regions() {
    let (server, part, scratch) = serve();
    let table = stdout(&lfbm(&server, &["explain", "--overlay", &part]));
    assert!(table.contains("verdict"), "{table}");
    assert!(table.contains("region at x, y"), "{table}");
    let [heatmap, overlay] = ["heatmap", "overlay"].map(|kind| {
        let file = scratch.path().join(format!("part.{kind}.png"));
        fs::read(file).unwrap()
    });
    assert_eq!(heatmap, overlay);
    let none = lfbm(&server, &["explain", "--reconstruction", &part]);
    let errors = String::from_utf8_lossy(&none.stderr);
    assert!(errors.contains("no reconstruction: the model"), "{errors}");
    assert!(none.status.success() && stdout(&none).contains("verdict"));
}

#[test]
fn models_say_what_they_see() {
    let (server, _part, _scratch) = serve();
    let model = json(&lfbm(&server, &["models", "--json"]));
    assert_eq!(model["representation"]["rows"], 4);
    assert_eq!(model["representation"]["kind"], "pixels");
    assert_eq!(model["decision"], "sites");
    let table = stdout(&lfbm(&server, &["models"]));
    assert!(table.contains("pixels, 4 x 4 sites of 64"), "{table}");
    assert!(table.contains("site score >"), "{table}");
}
