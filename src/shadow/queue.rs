//! Images that wait for their score by a shadow version.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::share::Share;
use super::{Comparison, ImageId, Judged, ShadowSettings, ShadowVersion};
use crate::memory::{Memory, Reservation};
use crate::request::{Draft, Judging, Parameters, Priority};
use crate::telemetry::{Metrics, ShadowMetrics};

/// Picks images for shadow versions; a clone picks from the same share.
#[derive(Clone)]
pub struct Shadows(Arc<Shared>);

struct Shared {
    shadows: Vec<Shadow>,
    memory: Memory,
}

/// A shadow version at work.
struct Shadow {
    of: ShadowVersion,
    share: Share,
    queue: mpsc::Sender<ShadowImage>,
    metrics: Arc<ShadowMetrics>,
}

/// An image that a shadow version is to score once the version that answers has scored it.
pub struct Candidate {
    queue: mpsc::Sender<ShadowImage>,
    metrics: Arc<ShadowMetrics>,
    id: ImageId,
    live_version: u64,
    /// Nothing where there is no room for the image.
    held: Option<(Draft, Reservation)>,
}

/// Where the images for one shadow version come out, in the order in which they went in.
pub struct ShadowQueue {
    /// The shadow version.
    pub of: ShadowVersion,
    /// Its images.
    pub images: mpsc::Receiver<ShadowImage>,
}

/// An image that waits for its score by a shadow version.
pub struct ShadowImage {
    /// What the shadow version is to do: score the same image with the seed and the false-alarm rate of the
    /// request, and else by its own defaults.
    pub draft: Draft,
    /// What its score is to be compared with.
    pub comparison: Comparison,
}

impl Shadows {
    /// With a queue of the settings' size for each shadow version that they name.
    pub fn new(settings: &ShadowSettings, metrics: &Metrics) -> (Self, Vec<ShadowQueue>) {
        let shadow = |of: &ShadowVersion| {
            let (queue, images) = mpsc::channel(settings.shadow_queue);
            let shadow = Shadow {
                of: of.clone(),
                share: Share::new(of.share),
                queue,
                metrics: Arc::new(metrics.shadow_metrics(&of.model, of.version)),
            };
            let of = of.clone();
            (shadow, ShadowQueue { of, images })
        };
        let (shadows, queues) = settings.shadow.iter().map(shadow).unzip();
        let memory = Memory::new(settings.shadow_queue_bytes);
        (Self(Arc::new(Shared { shadows, memory })), queues)
    }

    /// Keeps an image that this version of this model is to score for the shadow versions in whose share it
    /// is. The draft must be one that the calibration holds for. An image that a shadow version answers,
    /// asked for by its number, is compared with nothing.
    pub fn pick(&self, model: &str, version: u64, draft: &Draft, id: &ImageId) -> Vec<Candidate> {
        let Shared { shadows, memory } = &*self.0;
        if draft.image.is_none() || shadows.iter().any(|shadow| shadow.of.is(model, version)) {
            return Vec::new();
        }
        let of_model = shadows.iter().filter(|shadow| shadow.of.model == model);
        let picked = of_model.filter(|shadow| shadow.share.picks());
        let candidate = |shadow: &Shadow| Candidate {
            queue: shadow.queue.clone(),
            metrics: Arc::clone(&shadow.metrics),
            id: id.clone(),
            live_version: version,
            held: (memory.take(draft.size()).ok()).map(|room| (draft_of(draft), room)),
        };
        picked.map(candidate).collect()
    }
}

/// See [`ShadowImage::draft`].
fn draft_of(live: &Draft) -> Draft {
    Draft {
        image: live.image.clone(),
        mask: None,
        needs_mask: false,
        parameters: Parameters {
            seed: live.parameters.seed,
            ..Parameters::default()
        },
        priority: Ok(Priority::Bulk),
        images: Ok(None),
        judging: Judging {
            false_alarm_rate: live.judging.false_alarm_rate,
            map: false,
        },
    }
}

impl Candidate {
    /// Puts the image into the queue, with what the version that answers says of it. Where there is no room, it is
    /// counted as dropped; an image that has no score, because it was refused, is not.
    pub fn compare_with(self, live: Judged) {
        let image = self.held.map(|(draft, room)| ShadowImage {
            draft,
            comparison: Comparison {
                metrics: Arc::clone(&self.metrics),
                id: self.id,
                live_version: self.live_version,
                live,
                _room: room,
            },
        });
        if image.is_none_or(|image| self.queue.try_send(image).is_err()) {
            self.metrics.dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::request::Image;

    const LIVE: Judged = Judged {
        p_value: 0.5,
        anomalous: false,
    };

    fn id() -> ImageId {
        ImageId {
            request: "a".into(),
            item: None,
        }
    }

    fn shadows(names: &[&str], queue: usize) -> (Shadows, Vec<ShadowQueue>, Metrics) {
        let metrics = Metrics::new(10, "none").unwrap();
        let settings = ShadowSettings {
            shadow: names.iter().map(|name| name.parse().unwrap()).collect(),
            shadow_queue: queue,
            shadow_queue_bytes: 1 << 20,
        };
        let (shadows, queues) = Shadows::new(&settings, &metrics);
        (shadows, queues, metrics)
    }

    fn draft(bytes: usize) -> Draft {
        Draft {
            image: Some(Image::File(Bytes::from(vec![0; bytes]))),
            mask: None,
            needs_mask: false,
            parameters: Parameters {
                seed: Some(7),
                ..Parameters::default()
            },
            priority: Ok(Priority::Interactive),
            images: Ok(None),
            judging: Judging {
                false_alarm_rate: Some(0.25),
                map: true,
            },
        }
    }

    #[test]
    fn the_images_of_the_models_other_versions_are_picked() {
        let (shadows, queues, _) = shadows(&["a:2=1", "a:4=1", "b:2=1"], 8);
        let pick = |model, version| shadows.pick(model, version, &draft(1), &id());
        assert!(pick("c", 1).is_empty(), "another model");
        assert!(pick("a", 2).is_empty(), "a shadow version");
        for candidate in pick("a", 3) {
            candidate.compare_with(LIVE);
        }
        for mut queue in queues {
            let Ok(ShadowImage { draft, comparison }) = queue.images.try_recv() else {
                assert_eq!(queue.of.model, "b");
                continue;
            };
            assert_eq!(queue.of.model, "a");
            assert_eq!(draft.parameters.seed, Some(7));
            assert_eq!(draft.judging.false_alarm_rate, Some(0.25));
            assert_eq!(draft.priority, Ok(Priority::Bulk));
            assert_eq!((comparison.live_version, comparison.live), (3, LIVE));
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_room_is_given_back() {
        let (shadows, mut queues, metrics) = shadows(&["a:2=1"], 2);
        let metrics = metrics.shadow_metrics("a", 2);
        let pick = |bytes| shadows.pick("a", 1, &draft(bytes), &id());
        for _ in 0..3 {
            for candidate in pick(1) {
                candidate.compare_with(LIVE);
            }
        }
        assert_eq!(metrics.dropped.get(), 1, "the queue has two places");
        let image = queues[0].images.try_recv().unwrap();
        image.comparison.end(None);
        assert_eq!(metrics.failed.get(), 1);
        let compare = |picked: Vec<Candidate>| {
            assert_eq!(picked.len(), 1);
            for candidate in picked {
                candidate.compare_with(LIVE);
            }
        };
        let large = pick(800 << 10);
        // A mebibyte is all there is. Whether an image is dropped is known once it has a score.
        let without_room = pick(800 << 10);
        drop(pick(800 << 10));
        assert_eq!(metrics.dropped.get(), 1);
        compare(without_room);
        assert_eq!(metrics.dropped.get(), 2);
        drop(large);
        compare(pick(800 << 10));
        assert_eq!(metrics.dropped.get(), 2);
        assert!(queues[0].images.try_recv().is_ok());
    }
}
