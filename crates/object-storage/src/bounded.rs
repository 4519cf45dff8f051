//! Bounds what a store may make its client hold: `object_store` collects every answer but the content of an object.

use async_trait::async_trait;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, GetOptions};

/// A page of a listing has 5,000 objects at most, whose names have 1 KiB at most, and six times that when escaped.
const MAX_BYTES: usize = 64 << 20;

/// Marks a request for an object's content, which is passed on as it comes: whoever reads it counts.
#[derive(Clone, Copy)]
struct Content;

/// How the content of an object is asked for.
pub(crate) fn content() -> GetOptions {
    let mut options = GetOptions::default();
    options.extensions.insert(Content);
    options
}

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
        let is_content = request.extensions().get::<Content>().is_some();
        let response = self.0.execute(request).await?;
        if response.status().is_success() && is_content {
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
