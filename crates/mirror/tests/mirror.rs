//! Mirrors of a store in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lfbm_mirror::{Cache, Mirror, MirrorError, Refused};
use lfbm_object_storage::{Bucket, Key, Place};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const PLACE: &str = "s3://bucket/models";
const WEIGHTS: &str = "weights.bin";

/// A store with a bucket, and a cache of it.
struct Scene {
    store: Arc<InMemory>,
    scratch: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    fn mirror(&self, max_bytes: u64) -> Mirror {
        let place: Place = PLACE.parse().unwrap();
        let cache = Cache::open(&self.scratch.path().join("cache"), max_bytes).unwrap();
        let bucket = Bucket::of(&place, Arc::clone(&self.store) as Arc<dyn ObjectStore>);
        Mirror::new(place, bucket, Arc::new(cache)).unwrap()
    }

    async fn put(&self, key: &str, content: &[u8]) {
        let key = Key::parse(key).unwrap();
        self.store.put(&key, content.to_vec().into()).await.unwrap();
    }

    async fn delete(&self, key: &str) {
        self.store.delete(&Key::parse(key).unwrap()).await.unwrap();
    }

    /// A bundle of a version, with its version as the weights.
    async fn publish(&self, prefix: &str, version: u64) {
        let weights = version.to_string();
        let manifest = manifest(version, &[(WEIGHTS, weights.as_bytes())]);
        self.put(&format!("{prefix}/{WEIGHTS}"), weights.as_bytes())
            .await;
        self.put(&format!("{prefix}/manifest.json"), &manifest)
            .await;
    }
}

/// The manifest of a shipped bundle, with another version and other files.
fn manifest(version: u64, files: &[(&str, &[u8])]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist-not4/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let digest = |content: &[u8]| -> String {
        let digest = Sha256::digest(content);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let files = files.iter().map(|(name, content)| {
        let entry = json!({ "sha256": digest(content), "size_bytes": content.len() });
        ((*name).to_owned(), entry)
    });
    manifest["version"] = version.into();
    manifest["files"] = Value::Object(files.collect());
    serde_json::to_vec(&manifest).unwrap()
}

/// The bundles in a mirror, with their weights.
fn bundles(mirror: &Mirror) -> Vec<(String, String)> {
    let entries = fs::read_dir(mirror.folder()).unwrap();
    let mut bundles: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("manifest.json").is_file())
        .map(|entry| {
            let weights = fs::read_to_string(entry.path().join(WEIGHTS)).unwrap();
            (entry.file_name().into_string().unwrap(), weights)
        })
        .collect();
    bundles.sort();
    bundles
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = expected.iter();
    pairs
        .map(|(name, weights)| ((*name).to_owned(), (*weights).to_owned()))
        .collect()
}

fn only(refused: Vec<Refused>) -> (String, Arc<MirrorError>) {
    let [Refused { bundle, error }] = <[_; 1]>::try_from(refused).unwrap();
    (bundle, error)
}

#[tokio::test]
async fn bundles_come_change_and_go() {
    let scene = Scene::new();
    let mut mirror = scene.mirror(1 << 20);
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert_eq!(bundles(&mirror), []);

    scene.publish("models/one", 1).await;
    scene.publish("models/two", 2).await;
    // Drafts, and bundles elsewhere.
    scene.publish("models/.three", 3).await;
    scene.publish("models/deep/four", 4).await;
    scene.publish("modelsfive", 5).await;
    scene.put("models/notes.txt", b"a text").await;
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert_eq!(bundles(&mirror), pairs(&[("one", "1"), ("two", "2")]));

    scene.publish("models/one", 6).await;
    scene.delete("models/two/manifest.json").await;
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert_eq!(bundles(&mirror), pairs(&[("one", "6")]));
}

#[tokio::test]
async fn what_was_mirrored_is_there_at_the_next_start_and_drafts_are_not() {
    let scene = Scene::new();
    scene.publish("models/one", 1).await;
    let mut mirror = scene.mirror(1 << 20);
    mirror.sync(false).await.unwrap();
    // What a process leaves that is killed.
    for left in [".draft-1", ".old-one"] {
        fs::create_dir(mirror.folder().join(left)).unwrap();
    }
    // It stays unless the bundle is downloaded again.
    let kept = mirror.folder().join("one/kept");
    fs::write(&kept, "").unwrap();
    drop(mirror);
    let mut mirror = scene.mirror(1 << 20);
    for left in [".draft-1", ".old-one"] {
        assert!(!mirror.folder().join(left).exists());
    }
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert_eq!(bundles(&mirror), pairs(&[("one", "1")]));
    assert!(kept.exists());
}

#[tokio::test]
async fn a_bundle_that_was_damaged_in_the_cache_is_downloaded_again_at_the_next_start() {
    let scene = Scene::new();
    scene.publish("models/one", 1).await;
    scene.publish("models/two", 2).await;
    scene.publish("models/three", 3).await;
    let mut mirror = scene.mirror(1 << 20);
    mirror.sync(false).await.unwrap();
    fs::write(mirror.folder().join("one").join(WEIGHTS), "9").unwrap();
    fs::write(mirror.folder().join("two/manifest.json"), "{").unwrap();
    fs::remove_file(mirror.folder().join("three").join(WEIGHTS)).unwrap();
    drop(mirror);
    let mut mirror = scene.mirror(1 << 20);
    assert!(mirror.sync(false).await.unwrap().is_empty());
    let expected = pairs(&[("one", "1"), ("three", "3"), ("two", "2")]);
    assert_eq!(bundles(&mirror), expected);
}

#[tokio::test]
async fn a_bundle_that_differs_from_its_manifest_is_refused_and_the_one_before_stays() {
    let scene = Scene::new();
    let mut mirror = scene.mirror(1 << 20);
    scene.publish("models/one", 1).await;
    mirror.sync(false).await.unwrap();
    scene.publish("models/two", 2).await;
    let whole = manifest(3, &[(WEIGHTS, b"3")]);
    for (weights, reason) in [
        (Some(&b"4"[..]), "expected 1 bytes with the SHA-256 "),
        (Some(b"34"), "expected 1 bytes, as the manifest says, got 2"),
        (None, "the manifest names it, and there is no such object"),
    ] {
        scene.put("models/one/manifest.json", &whole).await;
        match weights {
            Some(weights) => scene.put("models/one/weights.bin", weights).await,
            None => scene.delete("models/one/weights.bin").await,
        }
        let (bundle, error) = only(mirror.sync(false).await.unwrap());
        assert_eq!(bundle, "s3://bucket/models/one");
        let expected = format!("s3://bucket/models/one/weights.bin: {reason}");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(bundles(&mirror), pairs(&[("one", "1"), ("two", "2")]));
        // It is told as long as it is so.
        assert_eq!(only(mirror.sync(false).await.unwrap()).0, bundle);
    }
    scene.put("models/one/weights.bin", b"3").await;
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert_eq!(bundles(&mirror), pairs(&[("one", "3"), ("two", "2")]));
}

#[tokio::test]
async fn a_manifest_that_is_none_or_names_other_folders_is_refused() {
    let scene = Scene::new();
    let mut mirror = scene.mirror(1 << 20);
    for (manifest, reason) in [
        (b"{".to_vec(), "EOF while parsing"),
        (
            manifest(1, &[("../weights.bin", b"1")]),
            "the file name \"../weights.bin\" leaves",
        ),
        (
            manifest(1, &[("manifest.json", b"1")]),
            "the file name \"manifest.json\" leaves",
        ),
    ] {
        scene.put("models/one/manifest.json", &manifest).await;
        let error = only(mirror.sync(false).await.unwrap()).1.to_string();
        let expected = format!("s3://bucket/models/one/manifest.json: {reason}");
        assert!(error.starts_with(&expected), "{error}");
    }
    scene.delete("models/one/manifest.json").await;
    scene.publish("models/no name", 1).await;
    let error = only(mirror.sync(false).await.unwrap()).1.to_string();
    assert!(
        error.starts_with("s3://bucket/models/no name: expected a name of 1 to 64"),
        "{error}"
    );
    assert_eq!(bundles(&mirror), []);
}

#[tokio::test]
async fn a_cache_takes_what_it_has_room_for() {
    let scene = Scene::new();
    scene.publish("models/one", 1).await;
    let size = manifest(1, &[(WEIGHTS, b"1")]).len() as u64 + 1;
    // The fingerprint of what a bundle was made of takes 64 bytes.
    let mut mirror = scene.mirror(size + 64);
    assert!(mirror.sync(false).await.unwrap().is_empty());
    scene.publish("models/two", 2).await;
    let (bundle, error) = only(mirror.sync(false).await.unwrap());
    assert_eq!(bundle, "s3://bucket/models/two");
    let MirrorError::Full {
        needed,
        used,
        limit,
        ..
    } = *error
    else {
        panic!("{error}");
    };
    assert_eq!((needed, used, limit), (size, size + 64, size + 64));
    assert_eq!(bundles(&mirror), pairs(&[("one", "1")]));

    // Room that is made is taken, though the bundle is the same.
    scene.delete("models/one/manifest.json").await;
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert_eq!(bundles(&mirror), pairs(&[("two", "2")]));
}

#[tokio::test]
async fn a_place_may_be_a_bundle() {
    let scene = Scene::new();
    scene.publish("models", 1).await;
    scene.publish("models/report", 2).await;
    let mut mirror = scene.mirror(1 << 20);
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert_eq!(bundles(&mirror), pairs(&[("models", "1")]));
}

#[tokio::test]
async fn what_a_crash_left_is_mended_and_files_of_others_stay() {
    let scene = Scene::new();
    scene.publish("models/one", 1).await;
    let mut mirror = scene.mirror(1 << 20);
    assert!(mirror.sync(false).await.unwrap().is_empty());
    let folder = mirror.folder().to_path_buf();
    drop(mirror);
    // The process ended when the bundle was to be replaced.
    fs::rename(folder.join("one"), folder.join(".old-one")).unwrap();
    let mut mirror = scene.mirror(1 << 20);
    assert_eq!(bundles(&mirror), pairs(&[("one", "1")]));
    fs::write(folder.join("README"), "").unwrap();
    assert!(mirror.sync(false).await.unwrap().is_empty());
    assert!(folder.join("README").is_file() && folder.join("one").is_dir());
}
