//! Which bundles a place has.

use std::collections::BTreeMap;

use lfbm_object_storage::{Bucket, Object, Place, StorageError};
use sha2::{Digest, Sha256};

pub(crate) const MANIFEST: &str = "manifest.json";
/// A place of bundles has far fewer objects.
const MAX_OBJECTS: usize = 100_000;

/// A bundle in a store, as a listing shows it.
#[derive(Debug)]
pub(crate) struct Remote {
    /// The bundle.
    pub(crate) place: Place,
    /// Its objects by file name.
    pub(crate) objects: BTreeMap<String, Object>,
}

impl Remote {
    fn new(place: Place) -> Self {
        let objects = BTreeMap::new();
        Self { place, objects }
    }

    /// Changes when an object of the bundle does.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, object) in &self.objects {
            let Object {
                size_bytes,
                revision,
                ..
            } = object;
            hash.update(format!("{name}\0{size_bytes}\0{revision}\0"));
        }
        hex(&hash.finalize())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bundles of a place by name: those in it, or the one that it is. Hidden ones are drafts.
///
/// # Errors
/// When the store does not answer, or the place has more objects than any place of bundles.
pub(crate) async fn find(
    bucket: &Bucket,
    place: &Place,
) -> Result<BTreeMap<String, Remote>, StorageError> {
    let mut itself = Remote::new(place.clone());
    let mut inside: BTreeMap<String, Remote> = BTreeMap::new();
    for object in bucket.list(place.key(), MAX_OBJECTS).await? {
        let (Some(file), Some(folder)) = (object.key.filename(), object.key.parent()) else {
            continue;
        };
        let file = file.to_owned();
        if folder == *place.key() {
            itself.objects.insert(file, object);
        } else if folder.parent().as_ref() == Some(place.key()) {
            let bundle = place.with_key(folder);
            let name = bundle.name().to_owned();
            let bundle = inside.entry(name).or_insert_with(|| Remote::new(bundle));
            bundle.objects.insert(file, object);
        }
    }
    let is_bundle = |remote: &Remote| remote.objects.contains_key(MANIFEST);
    if is_bundle(&itself) {
        return Ok(BTreeMap::from([(place.name().to_owned(), itself)]));
    }
    inside.retain(|name, remote| is_bundle(remote) && !name.starts_with('.'));
    Ok(inside)
}

/// The object of a file that a bundle may have.
pub(crate) fn file(bundle: &Place, name: &str) -> Place {
    bundle.with_key(bundle.key().clone().join(name))
}
