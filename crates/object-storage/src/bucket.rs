use std::fmt;
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::bounded::content;
use crate::client;
use crate::reason::problem;
use crate::{Key, Place, Problem, StorageError};

/// A bucket, or a container of Azure.
#[derive(Clone)]
pub struct Bucket {
    /// Names it, with any key.
    place: Place,
    store: Arc<dyn ObjectStore>,
}

/// An object, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name in the bucket.
    pub key: Key,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Another text whenever the object was written anew: its `ETag`, and when it was written.
    pub revision: String,
}

impl Bucket {
    /// The bucket of a place, to be reached as the environment says. It connects to nothing yet.
    ///
    /// # Errors
    /// When the environment does not say how to reach the store.
    pub fn open(place: &Place) -> Result<Self, StorageError> {
        Ok(Self::of(place, client::open(place)?))
    }

    /// The bucket of a place, which `store` keeps.
    pub fn of(place: &Place, store: Arc<dyn ObjectStore>) -> Self {
        let place = place.clone();
        Self { place, store }
    }

    /// The objects below a prefix, by name: those whose key is `PREFIX/…`, at any depth.
    ///
    /// # Errors
    /// When the store does not answer, or there are more than `max_objects`.
    pub async fn list(
        &self,
        prefix: &Key,
        max_objects: usize,
    ) -> Result<Vec<Object>, StorageError> {
        let place = self.place.with_key(prefix.clone());
        let failed = |error| place.error(problem(&error));
        // It asks for one page after the other.
        let mut listed = self.store.list((!prefix.is_root()).then_some(prefix));
        let mut objects = Vec::new();
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            if objects.len() == max_objects {
                return Err(place.error(Problem::TooMany(max_objects)));
            }
            objects.push(Object::from(object));
        }
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// Whether there is an object of this name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn has(&self, key: &Key) -> Result<bool, StorageError> {
        match self.store.head(key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.place.with_key(key.clone()).error(problem(&error))),
        }
    }

    /// The content of an object.
    ///
    /// # Errors
    /// When there is none, it has more than `max_bytes`, or the store does not answer.
    pub async fn read(&self, key: &Key, max_bytes: u64) -> Result<Vec<u8>, StorageError> {
        let mut content = Vec::new();
        let take = |chunk: &[u8]| {
            content.extend_from_slice(chunk);
            Ok::<_, StorageError>(())
        };
        self.read_to(key, max_bytes, take).await?;
        Ok(content)
    }

    /// Passes the content of an object to `take`, piece by piece; how many bytes it has.
    ///
    /// # Errors
    /// When there is none, it has more than `max_bytes`, or the store does not answer; and those of `take`.
    pub async fn read_to<E: From<StorageError>>(
        &self,
        key: &Key,
        max_bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let failed = |problem| self.place.with_key(key.clone()).error(problem);
        let got = self.store.get_opts(key, content()).await;
        let got = got.map_err(|error| failed(problem(&error)))?;
        if got.meta.size > max_bytes {
            return Err(failed(Problem::TooLarge(max_bytes)).into());
        }
        let mut chunks = got.into_stream();
        let mut bytes = 0;
        loop {
            let chunk = chunks.try_next().await;
            let Some(chunk) = chunk.map_err(|error| failed(problem(&error)))? else {
                return Ok(bytes);
            };
            bytes += chunk.len() as u64;
            if bytes > max_bytes {
                return Err(failed(Problem::TooLarge(max_bytes)).into());
            }
            take(&chunk)?;
        }
    }
}

impl fmt::Debug for Bucket {
    /// The client of the store may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        let tag = meta.e_tag.unwrap_or_default();
        Self {
            key: meta.location,
            size_bytes: meta.size,
            revision: format!("{tag} {}", meta.last_modified.timestamp_micros()),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn bucket(keys: &[&str]) -> Bucket {
        let store = InMemory::new();
        for key in keys {
            let content = key.as_bytes().to_vec();
            store.put(&Key::from(*key), content.into()).await.unwrap();
        }
        Bucket::of(&"s3://bucket".parse().unwrap(), Arc::new(store))
    }

    #[tokio::test]
    async fn a_listing_has_what_is_below_a_prefix_and_no_more_than_it_may() {
        let bucket = bucket(&["a/2", "a/1/b", "ab", "b"]).await;
        let keys = async |prefix: &str, most| {
            let listed = bucket.list(&Key::from(prefix), most).await;
            listed.map(|objects| {
                objects
                    .into_iter()
                    .map(|object| object.key.to_string())
                    .collect()
            })
        };
        let two: Vec<_> = keys("a", 2).await.unwrap();
        assert_eq!(two, ["a/1/b", "a/2"]);
        let all: Vec<_> = keys("", 4).await.unwrap();
        assert_eq!(all, ["a/1/b", "a/2", "ab", "b"]);
        let error = keys("a", 1).await.map(|_: Vec<_>| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "s3://bucket/a: expected at most 1 objects below this prefix, got more"
        );
        assert!(
            keys("nothing", 0)
                .await
                .is_ok_and(|none: Vec<_>| none.is_empty())
        );
    }

    #[tokio::test]
    async fn an_object_is_read_whole_or_refused_by_its_name() {
        let bucket = bucket(&["a/12345"]).await;
        let key = Key::from("a/12345");
        assert_eq!(bucket.read(&key, 7).await.unwrap(), b"a/12345");
        let error = bucket.read(&key, 6).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "s3://bucket/a/12345: expected at most 6 bytes, got more"
        );
        let error = bucket.read(&Key::from("b"), 7).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "s3://bucket/b: there is no such object or bucket"
        );
    }

    #[tokio::test]
    async fn an_object_that_is_written_anew_has_another_revision() {
        let bucket = bucket(&["a"]).await;
        let revision = async || bucket.list(&Key::ROOT, 1).await.unwrap().remove(0).revision;
        let first = revision().await;
        assert_eq!(revision().await, first);
        bucket
            .store
            .put(&Key::from("a"), "other".into())
            .await
            .unwrap();
        assert_ne!(revision().await, first);
    }
}
