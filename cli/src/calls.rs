//! One call an image, several at once.

use std::path::Path;
use std::pin::pin;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use futures_util::{Stream, StreamExt, stream};
use lfbm_process::one_line;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{Image, Priority, Tensor};
use tonic::{Response, Status};

use crate::connection::{Connection, Connector};
use crate::inference::InferenceArgs;
use crate::inputs::{Images, InputArgs, encoded};
use crate::mask::{MaskArgs, Masks};
use crate::status::{failure, retry};
use crate::stop::Stop;

/// What the commands that work on images have in common.
#[derive(Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Further attempts for an image, when the server is overloaded or unavailable, or the
    /// connection breaks
    #[arg(long, default_value_t = 3)]
    retry: u32,
    #[command(flatten)]
    pub(crate) call: CallArgs,
}

/// How the server is asked about images, wherever they come from.
#[derive(Args)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    mask: MaskArgs,
    /// Which requests the server prefers when it has much to do; bulk for several images, else
    /// interactive
    #[arg(long, value_enum)]
    priority: Option<PriorityName>,
    /// Requests that are under way at once
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum PriorityName {
    Interactive,
    Bulk,
}

/// Images, and a server to ask about them.
pub(crate) struct Calls {
    pub(crate) client: AnomalyDetectorClient<Connection>,
    pub(crate) priority: Priority,
    masks: Masks,
    pub(crate) images: Images,
    /// Calls in flight at once.
    pub(crate) at_once: usize,
    retry: u32,
    stop: Stop,
}

impl CallArgs {
    /// The masks that the flags name.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn masks(&self) -> anyhow::Result<Masks> {
        self.mask.read()
    }

    /// The priority of one image or of several.
    pub(crate) fn priority(&self, several: bool) -> Priority {
        match self.priority {
            Some(PriorityName::Interactive) => Priority::Interactive,
            Some(PriorityName::Bulk) => Priority::Bulk,
            None if several => Priority::Bulk,
            None => Priority::Interactive,
        }
    }

    /// Requests that are under way at once.
    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency.into()
    }
}

impl ImageArgs {
    /// Finds the images and connects, unless `stop` comes.
    pub(crate) async fn prepare(
        &self,
        connector: &Connector,
        stop: &Stop,
    ) -> anyhow::Result<Calls> {
        let connect = async {
            let images = self.input.find().await?;
            self.connect(connector, stop, Some(images)).await
        };
        stop.or(connect).await
    }

    /// Connects, for images that come one after the other, unless `stop` comes.
    pub(crate) async fn prepare_for_frames(
        &self,
        connector: &Connector,
        stop: &Stop,
    ) -> anyhow::Result<Calls> {
        stop.or(self.connect(connector, stop, None)).await
    }

    /// Connects, for so many images, or for any number of them.
    async fn connect(
        &self,
        connector: &Connector,
        stop: &Stop,
        images: Option<Images>,
    ) -> anyhow::Result<Calls> {
        let count = images
            .as_ref()
            .map_or(usize::MAX, |images| images.names.len());
        Ok(Calls {
            masks: self.call.masks()?,
            client: connector.detector().await?,
            priority: self.call.priority(count > 1),
            images: images.unwrap_or_default(),
            at_once: self.call.concurrency().min(count),
            retry: self.retry,
            stop: stop.clone(),
        })
    }
}

/// What became of images.
pub(crate) struct Tally {
    /// Those that have an answer or an error.
    pub(crate) done: usize,
    /// Those that have an error.
    pub(crate) failed: usize,
    /// Whether a signal came before the end.
    pub(crate) stopped: bool,
}

impl Calls {
    /// An image and its mask.
    pub(crate) async fn read(&self, name: &Path) -> anyhow::Result<(Image, Option<Tensor>)> {
        self.with_mask(self.images.read(name).await?)
    }

    /// The image in a file, and its mask.
    pub(crate) fn with_mask(&self, file: Vec<u8>) -> anyhow::Result<(Image, Option<Tensor>)> {
        let mask = self.masks.of(&file)?;
        Ok((encoded(file), mask))
    }

    /// Retries until the reply is final or no attempt is left.
    pub(crate) async fn call<T>(
        &self,
        call: impl AsyncFn() -> Result<Response<T>, Status>,
    ) -> anyhow::Result<T> {
        let reply = retry(self.retry, call).await;
        reply.map(Response::into_inner).map_err(failure)
    }

    /// Calls for every image and passes the replies to `take`, in the order of the images. A failed
    /// image is reported, and the others go on. A signal ends it with the replies so far.
    pub(crate) async fn for_each<'a, T>(
        &'a self,
        ask: impl AsyncFn(&'a Path) -> anyhow::Result<T>,
        mut take: impl FnMut(&'a Path, T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let images = &self.images.names;
        let name = |image: &&Path| image.display().to_string();
        let tally = if let [image] = &images[..] {
            let answered = tokio::select! {
                answer = ask(image) => Some(answer),
                () = self.stop.comes() => None,
            };
            if let Some(answer) = answered {
                return take(image, answer.with_context(|| name(&image.as_path()))?);
            }
            Tally {
                done: 0,
                failed: 0,
                stopped: true,
            }
        } else {
            let answers = stream::iter(images)
                .map(async |image| (image.as_path(), ask(image).await))
                .buffered(self.at_once.max(1));
            self.take_all(answers, name, take).await?
        };
        ensure!(
            !tally.stopped,
            "stopped: {} of {} images have no answer",
            images.len() - tally.done,
            images.len()
        );
        ensure!(
            tally.failed == 0,
            "{} of {} images have no answer",
            tally.failed,
            images.len()
        );
        Ok(())
    }

    /// Passes answers to `take` as they come, until the last or a signal. Those that are errors are reported.
    pub(crate) async fn take_all<N, T>(
        &self,
        answers: impl Stream<Item = (N, anyhow::Result<T>)>,
        name: impl Fn(&N) -> String,
        mut take: impl FnMut(N, T) -> anyhow::Result<()>,
    ) -> anyhow::Result<Tally> {
        let mut answers = pin!(answers);
        let mut tally = Tally {
            done: 0,
            failed: 0,
            stopped: false,
        };
        loop {
            let next = tokio::select! {
                next = answers.next() => next,
                () = self.stop.comes() => {
                    tally.stopped = true;
                    return Ok(tally);
                }
            };
            let Some((image, answer)) = next else {
                return Ok(tally);
            };
            tally.done += 1;
            match answer {
                Ok(answer) => take(image, answer)?,
                Err(error) => {
                    tally.failed += 1;
                    eprintln!("lfbm: {}: {}", name(&image), one_line(error.as_ref()));
                }
            }
        }
    }
}
