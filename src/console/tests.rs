use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use tower::ServiceExt;

use super::*;

async fn ask(method: Method, path: &str, headers: &[(HeaderName, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let router: Router = router();
    router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

async fn get(path: &str) -> Response {
    ask(Method::GET, path, &[]).await
}

/// What stands between `before` and the next quotation mark, everywhere in a text.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(before).skip(1);
    parts.filter_map(|part| part.split('"').next())
}

#[tokio::test]
async fn files_come_with_their_type_and_a_policy() {
    for file in &FILES {
        let response = get(file.path).await;
        assert_eq!(response.status(), StatusCode::OK, "{}", file.path);
        let headers = response.headers().clone();
        let expected = match file.path.rsplit_once('.') {
            None => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            Some((_, other)) => panic!("{other}"),
        };
        assert_eq!(headers[CONTENT_TYPE], expected, "{}", file.path);
        assert_eq!(headers[CACHE_CONTROL], "no-cache");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[OPENER_POLICY], "same-origin");
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(!policy.contains("unsafe"), "{policy}");
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|part| part == directive), "{policy}");
        }
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, file.content);
    }
}

#[tokio::test]
async fn a_client_that_has_a_file_gets_no_body() {
    let tag = get("/").await.headers()[ETAG].clone();
    let tag = tag.to_str().unwrap();
    for known in [tag, &format!("\"other\", W/{tag}"), "*"] {
        let response = ask(Method::GET, "/", &[(IF_NONE_MATCH, known)]).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(response.headers()[ETAG], tag);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(body.is_empty());
    }
    let response = ask(Method::GET, "/", &[(IF_NONE_MATCH, "\"other\"")]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_ne!(get("/console/app.js").await.headers()[ETAG], tag);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    for path in ["/console", "/console/", "/console/mod.rs", "/index.html"] {
        assert_eq!(get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let response = ask(Method::POST, "/", &[]).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn every_file_that_a_file_names_is_served_and_every_file_is_named() {
    let served: BTreeSet<&str> = FILES.iter().map(|file| file.path).collect();
    let mut named = BTreeSet::from(["/".to_owned()]);
    let pages = FILES.iter().filter(|file| file.content_type == HTML);
    let pages: Vec<_> = pages
        .map(|file| file.path.trim_start_matches('/'))
        .collect();
    for file in &FILES {
        let text = str::from_utf8(file.content).unwrap();
        match file.content_type {
            HTML => {
                assert!(!text.contains("<style") && !text.contains(" style="));
                let names = quoted(text, "src=\"").chain(quoted(text, "href=\"console/"));
                let linked = quoted(text, "href=\"").filter(|name| pages.contains(name));
                named.extend(linked.map(|name| format!("/{name}")));
                named.extend(names.map(|name| {
                    format!("/console/{}", name.strip_prefix("console/").unwrap_or(name))
                }));
            }
            JAVASCRIPT => {
                named.extend(quoted(text, "from \"./").map(|name| format!("/console/{name}")));
            }
            _ => {}
        }
    }
    assert_eq!(
        named.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        served
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console");
    let files = fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let of_console = names.filter(|name| !name.ends_with(".rs")).count();
    assert_eq!(of_console, FILES.len());
}
