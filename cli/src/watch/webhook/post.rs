//! POST requests, on a thread of their own: the HTTP client blocks.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::signature::Secret;

const MAX_PEM_BYTES: u64 = 1 << 20;
/// As much of a reply is read, so that the connection can be used again.
const MAX_REPLY_BYTES: u64 = 64 << 10;

/// A line on its way.
#[derive(Clone)]
pub(super) struct Post {
    /// The same at every attempt.
    pub(super) id: String,
    /// A JSON object.
    pub(super) body: Vec<u8>,
}

/// Why a line was not taken.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// What the receiver asks for.
    pub(super) retry_after: Option<Duration>,
}

type Outcome = Result<(), Refusal>;

/// Sends one line after the other.
pub(super) struct Poster(Sender<(Post, oneshot::Sender<Outcome>)>);

struct Receiving {
    agent: Agent,
    url: String,
    /// The URL without its path, which may be a secret.
    host: String,
    secret: Secret,
}

impl Poster {
    /// Starts the thread, which ends with the poster.
    ///
    /// # Errors
    /// When URL, secret or certificates are none.
    pub(super) fn start(
        url: &str,
        secret: &Path,
        ca: Option<&Path>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let (is_https, host) = check(url)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Whoever answers for the receiver must not send its lines elsewhere.
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .user_agent(concat!("lfbm/", env!("CARGO_PKG_VERSION")));
        let config = match is_https {
            true => config.tls_config(TlsConfig::builder().root_certs(roots(ca)?).build()),
            false => config,
        };
        let receiving = Receiving {
            agent: config.build().into(),
            url: url.to_owned(),
            host,
            secret: Secret::read(secret)?,
        };
        let (sender, receiver) = channel();
        thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || receiving.serve(&receiver))?;
        Ok(Self(sender))
    }

    /// Sends a line once; the inner error is the receiver's.
    ///
    /// # Errors
    /// When the thread has ended.
    pub(super) async fn post(&self, post: Post) -> anyhow::Result<Outcome> {
        let (sender, outcome) = oneshot::channel();
        let ended = "the thread of --webhook has ended";
        self.0.send((post, sender)).ok().context(ended)?;
        outcome.await.context(ended)
    }
}

/// Whether it is https, and what may be shown of it.
fn check(url: &str) -> anyhow::Result<(bool, String)> {
    // A URL may have secrets, so errors do not repeat it.
    let uri: Option<Uri> = url.parse().ok();
    let parts = uri
        .as_ref()
        .and_then(|uri| uri.scheme_str().zip(uri.authority()));
    let Some((scheme @ ("http" | "https"), authority)) = parts else {
        anyhow::bail!("--webhook: expected http:// or https:// and a host, got something else");
    };
    ensure!(
        !authority.as_str().contains('@'),
        "--webhook: expected a URL without user and password; --webhook-secret-file proves who sends"
    );
    Ok((scheme == "https", format!("{scheme}://{authority}")))
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCerts> {
    let certificates: Vec<Certificate<'static>> = match ca {
        Some(path) => {
            let name = || {
                format!(
                    "--webhook-ca {}: expected certificates, PEM",
                    path.display()
                )
            };
            let file = File::open(path).with_context(name)?;
            let pem = lfbm_images::read_from(file, MAX_PEM_BYTES).with_context(name)?;
            let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
            let certificates =
                items
                    .with_context(name)?
                    .into_iter()
                    .filter_map(|item| match item {
                        PemItem::Certificate(certificate) => Some(certificate),
                        _ => None,
                    });
            let certificates: Vec<_> = certificates.collect();
            ensure!(!certificates.is_empty(), "{}, got none", name());
            certificates
        }
        None => rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
    };
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

impl Receiving {
    fn serve(&self, posts: &Receiver<(Post, oneshot::Sender<Outcome>)>) {
        for (post, outcome) in posts {
            // Fails only if nobody waits.
            let _ = outcome.send(self.post(&post));
        }
    }

    fn post(&self, post: &Post) -> Outcome {
        let refusal = |reason: String| Refusal {
            reason: format!("{}: {reason}", self.host),
            retry_after: None,
        };
        let timestamp = seconds_since_1970();
        let reply = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("idempotency-key", &post.id)
            .header("webhook-id", &post.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header(
                "webhook-signature",
                self.secret.sign(&post.id, timestamp, &post.body),
            )
            .send(&post.body[..]);
        let mut reply = reply.map_err(|error| refusal(error.to_string()))?;
        let status = reply.status();
        let retry_after = reply
            .headers()
            .get("retry-after")
            .and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = reply.body_mut().with_config().limit(MAX_REPLY_BYTES);
        // What it says does not matter.
        let _ = body.read_to_vec();
        if status.is_success() {
            return Ok(());
        }
        let hint = if status.is_redirection() {
            ", and redirects are not followed"
        } else {
            ""
        };
        Err(Refusal {
            retry_after,
            ..refusal(format!("expected a reply of 2xx, got {status}{hint}"))
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "receivers compare the time of a message with their clock"
)]
fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_http_and_its_secrets_are_not_shown() {
        let (is_https, shown) = check("https://example.com:8443/hooks/s3cret?key=s3cret").unwrap();
        assert!(is_https);
        assert_eq!(shown, "https://example.com:8443");
        assert!(!check("http://127.0.0.1:1/").unwrap().0);
        for url in [
            "",
            "s3cret",
            "ftp://s3cret/",
            "https://user:s3cret@example.com/",
            "/s3cret",
        ] {
            let error = check(url).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
