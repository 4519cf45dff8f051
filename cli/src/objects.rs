//! Images in object storage.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use lfbm_images::MAX_FILE_BYTES;
use lfbm_images::folder::{LeftOut, Reason, has_image_suffix, is_hidden, is_made};
use lfbm_object_storage::{Bucket, Key, Object, Place, Problem};

/// Their names are kept in memory.
const MAX_OBJECTS: usize = 1_000_000;

/// The buckets that images are in, by their URLs without a key.
#[derive(Default)]
pub(crate) struct Buckets(BTreeMap<String, Bucket>);

/// The URL that a path is, if it is one.
pub(crate) fn url(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| Place::is_url(text))
}

impl Buckets {
    /// The names of the images at a URL: of the object itself, or of all below if it ends with `/` or is a whole
    /// bucket. Objects are images by their names, since their first bytes would cost a request each.
    ///
    /// # Errors
    /// When the URL names nothing in object storage, the store does not answer, or there is no image.
    pub(crate) async fn find(
        &mut self,
        url: &str,
        left_out: &mut LeftOut,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let place: Place = url.parse()?;
        let bucket = self.open(&place)?;
        if !url.ends_with('/') && !place.key().is_root() {
            return Ok(vec![place.to_string().into()]);
        }
        let (mut images, mut others) = (Vec::new(), LeftOut::default());
        for object in bucket.list(place.key(), MAX_OBJECTS).await? {
            let name = PathBuf::from(place.with_key(object.key.clone()).to_string());
            match left_out_for(&object, place.key()) {
                Some(reason) => others.add(reason, &name),
                None => images.push(name),
            }
        }
        if images.is_empty() {
            let said = if others.is_empty() {
                String::new()
            } else {
                format!(" ({others})")
            };
            bail!("{url}: expected images below this prefix, found none{said}");
        }
        left_out.merge(others);
        Ok(images)
    }

    /// The content of an object that [`Self::find`] named.
    ///
    /// # Errors
    /// When the object is not there or has more bytes than an image file may, or the store does not answer.
    pub(crate) async fn read(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let mut buckets = self.0.iter();
        let found = buckets.find_map(|(name, bucket)| {
            let key = url.strip_prefix(name.as_str())?.strip_prefix('/')?;
            Some((bucket, Key::parse(key).ok()?))
        });
        let (bucket, key) = found.ok_or_else(|| anyhow!("expected an object"))?;
        let content = bucket.read(&key, MAX_FILE_BYTES).await;
        // Whoever reads it says which object it is.
        content.map_err(|error| match error.problem {
            Problem::NotFound => anyhow!("there is no such object; / at its end means all below"),
            problem => problem.into(),
        })
    }

    fn open(&mut self, place: &Place) -> anyhow::Result<&Bucket> {
        let name = place.with_key(Key::ROOT).to_string();
        Ok(match self.0.entry(name) {
            Entry::Occupied(bucket) => bucket.into_mut(),
            Entry::Vacant(room) => room.insert(Bucket::open(place)?),
        })
    }
}

/// Why an object below a prefix is no image to read, if it is none.
fn left_out_for(object: &Object, prefix: &Key) -> Option<Reason> {
    let path = Path::new(object.key.as_ref());
    let below = path.strip_prefix(prefix.as_ref()).unwrap_or(path);
    if below.iter().any(|part| is_hidden(Path::new(part))) {
        Some(Reason::Hidden)
    } else if is_made(below) {
        Some(Reason::Made)
    } else if !has_image_suffix(below) {
        Some(Reason::NotAnImage)
    } else if object.size_bytes == 0 {
        Some(Reason::Empty)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_an_image_by_its_name_below_the_prefix() {
        for (key, size_bytes, expected) in [
            (".lines/a.png", 1, None),
            (".lines/deep/A.JPEG", 1, None),
            (".lines/.thumbs/a.png", 1, Some(Reason::Hidden)),
            (".lines/a.heatmap.png", 1, Some(Reason::Made)),
            (".lines/notes.txt", 1, Some(Reason::NotAnImage)),
            (".lines", 0, Some(Reason::NotAnImage)),
            (".lines/a.png", 0, Some(Reason::Empty)),
        ] {
            let object = Object {
                key: Key::from(key),
                size_bytes,
                revision: String::new(),
            };
            let reason = left_out_for(&object, &Key::from(".lines"));
            assert_eq!(reason, expected, "{key}");
        }
    }
}
