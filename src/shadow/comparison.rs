//! What two versions say of one image.

use std::sync::Arc;

use crate::memory::Reservation;
use crate::telemetry::ShadowMetrics;

/// Which image of which request it is.
#[derive(Clone, Debug)]
pub struct ImageId {
    /// The id of the request.
    pub request: Arc<str>,
    /// Which of the request's images, where it has several.
    pub item: Option<Arc<str>>,
}

/// What a version says of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The p-value of the score that makes its verdict.
    pub p_value: f64,
    /// Its verdict.
    pub anomalous: bool,
}

/// What a shadow version's score of an image is to be compared with.
#[derive(Debug)]
pub struct Comparison {
    pub(super) metrics: Arc<ShadowMetrics>,
    pub(super) id: ImageId,
    pub(super) live_version: u64,
    pub(super) live: Judged,
    /// For the image's bytes.
    pub(super) _room: Reservation,
}

impl Comparison {
    /// Counts what the shadow version says; `None` where it could not score the image. Where the verdicts
    /// differ, a line of the log says of which image.
    pub fn end(self, judged: Option<Judged>) {
        let Self {
            metrics,
            id,
            live_version,
            live,
            ..
        } = self;
        let Some(judged) = judged else {
            metrics.failed.inc();
            return;
        };
        metrics.scored.inc();
        let difference = (live.p_value - judged.p_value).abs();
        metrics.compare(live_version, [live.anomalous, judged.anomalous], difference);
        if live.anomalous != judged.anomalous {
            tracing::debug!(
                request_id = &*id.request,
                item = id.item.as_deref(),
                model = metrics.model(),
                live_version,
                shadow_version = metrics.version(),
                anomalous = judged.anomalous,
                live_p_value = live.p_value,
                p_value = judged.p_value,
                "the shadow version has another verdict"
            );
        }
    }
}
