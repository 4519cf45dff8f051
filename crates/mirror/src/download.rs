//! Brings a bundle from a store into the cache, and checks it on the way.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use lfbm_atomic_files::ScratchDir;
use lfbm_bundle::manifest::{FileEntry, Manifest};
use lfbm_bundle::{parse_manifest, valid_name};
use lfbm_object_storage::{Bucket, Place};
use sha2::{Digest, Sha256};

use crate::MirrorError;
use crate::cache::Cache;
use crate::remote::{MANIFEST, Remote, file, hex};

const MAX_MANIFEST_BYTES: u64 = 16 << 20;
pub(crate) const DRAFT: &str = ".draft-";

/// A new folder in `parent` with all files that the bundle's manifest names, each of the size and with the SHA-256
/// that it says; on the disk.
///
/// # Errors
/// When the bundle is not what its manifest says, or has no room, or the store or the disk fails. Nothing is left.
pub(crate) async fn download(
    bucket: &Bucket,
    remote: &Remote,
    cache: &Cache,
    parent: &Path,
) -> Result<ScratchDir, MirrorError> {
    let place = file(&remote.place, MANIFEST);
    let text = bucket.read(place.key(), MAX_MANIFEST_BYTES).await?;
    let invalid = |reason| MirrorError::invalid(&place, reason);
    let manifest = parse_manifest(&text).map_err(invalid)?;
    check_listed(&manifest, remote)?;
    let sizes = manifest.files.values().map(|entry| entry.size_bytes);
    let bytes = sizes.fold(text.len() as u64, u64::saturating_add);
    cache.check_room(&remote.place.to_string(), bytes)?;
    let draft = ScratchDir::new_in(parent, DRAFT).map_err(MirrorError::io(parent))?;
    for (name, entry) in &manifest.files {
        let path = draft.path().join(name);
        fetch(bucket, &file(&remote.place, name), entry, &path).await?;
    }
    let path = draft.path().join(MANIFEST);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()?;
        File::open(draft.path())?.sync_all()
    });
    written.map_err(MirrorError::io(&path))?;
    tracing::info!(bundle = %remote.place, bytes, "bundle downloaded");
    Ok(draft)
}

/// Refuses what a listing shows to be wrong, before anything is downloaded.
fn check_listed(manifest: &Manifest, remote: &Remote) -> Result<(), MirrorError> {
    for (name, entry) in &manifest.files {
        if !valid_name(name) || name == MANIFEST {
            let reason = format!("the file name {name:?} leaves the bundle");
            return Err(MirrorError::invalid(file(&remote.place, MANIFEST), reason));
        }
        let expected = entry.size_bytes;
        let reason = match remote.objects.get(name) {
            Some(object) if object.size_bytes == expected => continue,
            Some(object) => {
                let got = object.size_bytes;
                format!("expected {expected} bytes, as the manifest says, got {got}")
            }
            None => "the manifest names it, and there is no such object".to_owned(),
        };
        return Err(MirrorError::invalid(file(&remote.place, name), reason));
    }
    Ok(())
}

/// Writes an object into a file, if it is the one that the manifest means.
async fn fetch(
    bucket: &Bucket,
    place: &Place,
    entry: &FileEntry,
    path: &Path,
) -> Result<(), MirrorError> {
    let mut file = File::create(path).map_err(MirrorError::io(path))?;
    let mut hash = Sha256::new();
    let take = |chunk: &[u8]| {
        hash.update(chunk);
        file.write_all(chunk).map_err(MirrorError::io(path))
    };
    let got = bucket.read_to(place.key(), entry.size_bytes, take).await?;
    let sha256 = hex(&hash.finalize());
    if got != entry.size_bytes || sha256 != entry.sha256 {
        let reason = format!(
            "expected {} bytes with the SHA-256 {}, as the manifest says, got {got} bytes with {sha256}",
            entry.size_bytes, entry.sha256
        );
        return Err(MirrorError::invalid(place, reason));
    }
    file.sync_all().map_err(MirrorError::io(path))
}
