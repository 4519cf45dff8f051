//! Bounds what a store may make its client hold: `object_store` collects every answer but the content of an object.

use async_trait::async_trait;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};

/// A page of a listing has 5,000 objects at most, whose names have 1 KiB at most, and six times that when escaped.
const MAX_BYTES: usize = 64 << 20;
/// In the queries of listings of S3 and Google, and of Azure.
const LISTINGS: [&str; 2] = ["list-type=", "comp=list"];

#[derive(Debug, thiserror::Error)]
#[error("expected an answer of at most {} MiB, got more", MAX_BYTES >> 20)]
struct TooLong;

/// Connects as `object_store` does by itself.
#[derive(Debug)]
pub(crate) struct BoundedConnector;

impl HttpConnector for BoundedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(BoundedClient(client)))
    }
}

#[derive(Debug)]
struct BoundedClient(HttpClient);

#[async_trait]
impl HttpService for BoundedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let is_listing = LISTINGS.iter().any(|listing| query.contains(listing));
        let response = self.0.execute(request).await?;
        if response.status().is_success() && !is_listing {
            // It is passed on as it comes, and whoever reads it counts.
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, MAX_BYTES).map_err(|error| match error.downcast::<HttpError>() {
                Ok(error) => *error,
                Err(error) if error.is::<LengthLimitError>() => {
                    HttpError::new(HttpErrorKind::Decode, TooLong)
                }
                Err(error) => HttpError::new_boxed(HttpErrorKind::Unknown, error),
            });
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}
