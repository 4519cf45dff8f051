//! Scores images on shadow versions, beside the requests and after all of them.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use tokio::runtime;

use super::ServiceError;
use super::call::{Call, Caller};
use super::core::Core;
use super::layer::AnsweringModel;
use crate::background::yield_to_others;
use crate::models::Models;
use crate::phase::Phases;
use crate::shadow::{Judged, ShadowImage, ShadowQueue, ShadowVersion};

/// Images that a shadow version scores at the same time, so that their chains share batches.
const IN_FLIGHT: usize = 16;
/// How long the score of an image may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often to look whether the versions that answer have room.
const ROOM_INTERVAL: Duration = Duration::from_millis(5);

/// Why an image has no score to compare.
#[derive(Debug, thiserror::Error)]
enum ShadowError {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("expected a score that the calibration holds for, got one without a verdict")]
    NotJudged,
    #[error("expected a score within {} s, got none", PATIENCE.as_secs())]
    Late,
}

/// Scores the images for one shadow version until the server drains, on a thread that lets all others of the
/// machine go first. `core` is not the one of the requests: its limits and its memory are for this version
/// alone.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(core: Core, queue: ShadowQueue, mut phases: Phases) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()?;
    let run = move || {
        yield_to_others();
        runtime.block_on(async {
            tokio::select! {
                () = score_all(&core, queue) => {}
                // What is under way is given up: nobody waits for it.
                () = phases.draining() => {}
            }
        });
        runtime.shutdown_background();
    };
    thread::Builder::new()
        .name("shadow".to_owned())
        .spawn(run)?;
    Ok(())
}

async fn score_all(core: &Core, queue: ShadowQueue) {
    let ShadowQueue { of, mut images } = queue;
    let failing = AtomicBool::new(false);
    let images = stream::poll_fn(|context| images.poll_recv(context));
    let scores = images.for_each_concurrent(IN_FLIGHT, |image| async {
        others_have_room(&core.models).await;
        score(core, &of, image, &failing).await;
    });
    scores.await;
}

/// Returns once another image would have rows at once in every version that answers.
async fn others_have_room(models: &Models) {
    loop {
        let catalog = models.catalog();
        let mut live = catalog.iter().filter(|model| !catalog.is_shadow(model));
        if live.all(|model| model.scheduler.has_room()) {
            return;
        }
        tokio::time::sleep(ROOM_INTERVAL).await;
    }
}

/// Scores an image and counts what comes of it. The first failure of a row is logged.
async fn score(core: &Core, shadow: &ShadowVersion, image: ShadowImage, failing: &AtomicBool) {
    let ShadowImage { draft, comparison } = image;
    let judged = async {
        let call = Call::of(Caller::default(), AnsweringModel::default());
        let model = core.model(&call, &shadow.model, shadow.version)?;
        let decision = model.manifest.calibration.decision;
        // Not the call's deadline, by which admission would refuse what may still be in time.
        let scored = tokio::time::timeout(PATIENCE, core.score(&call, model, draft)).await;
        let scored = scored.map_err(|_| ShadowError::Late)??;
        let judgement = scored.judgement.as_ref().ok_or(ShadowError::NotJudged)?;
        Ok::<_, ShadowError>(Judged {
            p_value: judgement.deciding_p_value(decision),
            anomalous: judgement.anomalous,
        })
    };
    // What panicked holds nothing that is used again.
    let judged = AssertUnwindSafe(judged).catch_unwind().await;
    let judged = judged.unwrap_or(Err(ServiceError::Panicked.into()));
    match &judged {
        Ok(_) => failing.store(false, Ordering::Relaxed),
        Err(error) if !failing.swap(true, Ordering::Relaxed) => {
            tracing::warn!(%shadow, %error, "a shadow version could not score an image");
        }
        Err(_) => {}
    }
    comparison.end(judged.ok());
}
