//! Clients of the stores, as the environment describes them.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

use crate::bounded::BoundedConnector;
use crate::place::{Place, Service};
use crate::reason::reason;
use crate::{Problem, StorageError};

/// A whole object may take as long as it takes, so only silence counts.
const OPTIONS: [(ClientConfigKey, &str); 3] = [
    (ClientConfigKey::Timeout, "1 day"),
    (ClientConfigKey::ReadTimeout, "30 seconds"),
    (ClientConfigKey::ConnectTimeout, "5 seconds"),
];
/// Whoever looks again later need not wait for long.
const RETRIES: usize = 2;

/// A client of the store that keeps a bucket. It connects to nothing yet.
///
/// # Errors
/// When the environment does not suffice.
pub(crate) fn open(place: &Place) -> Result<Arc<dyn ObjectStore>, StorageError> {
    // The one provider of TLS in this process; whoever has set it before keeps theirs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retry = RetryConfig {
        max_retries: RETRIES,
        ..RetryConfig::default()
    };
    let bucket = place.bucket();
    let built: object_store::Result<Arc<dyn ObjectStore>> = match place.service() {
        Service::S3 => OPTIONS
            .into_iter()
            .fold(AmazonS3Builder::from_env(), |builder, (key, value)| {
                builder.with_config(AmazonS3ConfigKey::Client(key), value)
            })
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_http_connector(BoundedConnector)
            .build()
            .map(|store| Arc::new(store) as _),
        Service::Google => OPTIONS
            .into_iter()
            .fold(
                GoogleCloudStorageBuilder::from_env(),
                |builder, (key, value)| builder.with_config(GoogleConfigKey::Client(key), value),
            )
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_http_connector(BoundedConnector)
            .build()
            .map(|store| Arc::new(store) as _),
        Service::Azure => OPTIONS
            .into_iter()
            .fold(
                MicrosoftAzureBuilder::from_env(),
                |builder, (key, value)| builder.with_config(AzureConfigKey::Client(key), value),
            )
            .with_container_name(bucket)
            .with_retry(retry)
            .with_http_connector(BoundedConnector)
            .build()
            .map(|store| Arc::new(store) as _),
    };
    built.map_err(|error| place.error(Problem::Environment(reason(&error))))
}
