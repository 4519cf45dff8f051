//! The console: a page for people, whose files are inside the binary. It holds nothing of a model or of an
//! image, so that it needs no token; what it shows it asks [`crate::rest`] for, with the token that a
//! person enters. Beside it, at `/docs`, a page that shows the OpenAPI document.

use std::fmt::Write;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

/// Nothing from elsewhere and nothing inline: text of a file or of a name never becomes a program.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the console.
struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

/// A file of this folder at its path.
macro_rules! file {
    ($name:literal, $content_type:expr) => {
        file!(concat!("/console/", $name), $name, $content_type)
    };
    ($path:expr, $name:literal, $content_type:expr) => {
        File {
            path: $path,
            content_type: $content_type,
            content: include_bytes!($name),
        }
    };
}

/// All files.
const FILES: [File; 22] = [
    file!("/", "index.html", HTML),
    file!("/docs", "docs.html", HTML),
    file!("style.css", CSS),
    file!("controls.css", CSS),
    file!("reference.css", CSS),
    file!("icon.svg", SVG),
    file!("app.js", JAVASCRIPT),
    file!("api.js", JAVASCRIPT),
    file!("csv.js", JAVASCRIPT),
    file!("decision.js", JAVASCRIPT),
    file!("dom.js", JAVASCRIPT),
    file!("files.js", JAVASCRIPT),
    file!("histogram.js", JAVASCRIPT),
    file!("models.js", JAVASCRIPT),
    file!("numbers.js", JAVASCRIPT),
    file!("pad.js", JAVASCRIPT),
    file!("picture.js", JAVASCRIPT),
    file!("queue.js", JAVASCRIPT),
    file!("reference.js", JAVASCRIPT),
    file!("server.js", JAVASCRIPT),
    file!("table.js", JAVASCRIPT),
    file!("verdict.js", JAVASCRIPT),
];

/// Answers requests for the files, and no others.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, file| {
        let tag = tag(file.content);
        let answer = move |headers: HeaderMap| async move { answer(file, &tag, &headers) };
        router.route(file.path, get(answer))
    })
}

fn answer(file: &'static File, tag: &HeaderValue, headers: &HeaderMap) -> Response {
    let of_all = [
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (ETAG, tag.clone()),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (OPENER_POLICY, HeaderValue::from_static("same-origin")),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ];
    if is_known(tag, headers) {
        return (StatusCode::NOT_MODIFIED, of_all).into_response();
    }
    let content_type = [(CONTENT_TYPE, HeaderValue::from_static(file.content_type))];
    (of_all, content_type, file.content).into_response()
}

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// An entity tag that changes with the content (RFC 9110, 8.8.3).
fn tag(content: &[u8]) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in &Sha256::digest(content)[..16] {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    // Hexadecimal digits and quotes are a header's value.
    HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether the client has the content of the tag.
fn is_known(tag: &HeaderValue, headers: &HeaderMap) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let mut known = known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests;
