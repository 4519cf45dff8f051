//! One call an image, several at once.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use futures_util::{StreamExt, stream};
use lfbm_console::one_line;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{Image, Priority, Tensor};
use tonic::{Response, Status};

use crate::connection::{Connection, Connector};
use crate::inference::InferenceArgs;
use crate::inputs::{InputArgs, encoded, read_file};
use crate::mask::{MaskArgs, Masks};
use crate::status::{failure, retry};
use crate::stop::Stop;

/// What the commands that work on images have in common.
#[derive(Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    mask: MaskArgs,
    /// Which requests the server prefers when it has much to do; bulk for several images, else
    /// interactive
    #[arg(long, value_enum)]
    priority: Option<PriorityName>,
    /// Requests that are under way at once
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Further attempts for an image, when the server is overloaded or unavailable, or the
    /// connection breaks
    #[arg(long, default_value_t = 3)]
    retry: u32,
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
    pub(crate) images: Vec<PathBuf>,
    concurrency: usize,
    retry: u32,
    stop: Stop,
}

impl ImageArgs {
    /// Finds the images and connects, unless `stop` comes.
    pub(crate) async fn prepare(
        &self,
        connector: &Connector,
        stop: &Stop,
    ) -> anyhow::Result<Calls> {
        stop.or(self.connect(connector, stop)).await
    }

    async fn connect(&self, connector: &Connector, stop: &Stop) -> anyhow::Result<Calls> {
        let images = self.input.find()?;
        let masks = self.mask.read()?;
        let client = connector.detector().await?;
        let priority = match self.priority {
            Some(PriorityName::Interactive) => Priority::Interactive,
            Some(PriorityName::Bulk) => Priority::Bulk,
            None if images.len() > 1 => Priority::Bulk,
            None => Priority::Interactive,
        };
        Ok(Calls {
            client,
            priority,
            masks,
            images,
            concurrency: self.concurrency.into(),
            retry: self.retry,
            stop: stop.clone(),
        })
    }
}

impl Calls {
    /// Calls in flight at once.
    pub(crate) fn at_once(&self) -> u32 {
        self.concurrency.min(self.images.len()) as u32
    }

    /// An image and its mask.
    pub(crate) fn read(&self, path: &Path) -> anyhow::Result<(Image, Option<Tensor>)> {
        let file = read_file(path)?;
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
        let images = &self.images;
        let mut answers = stream::iter(images)
            .map(async |image| (image, ask(image).await))
            .buffered(self.concurrency);
        let (mut failed, mut done) = (0, 0);
        loop {
            let next = tokio::select! {
                next = answers.next() => next,
                () = self.stop.comes() => {
                    let left = images.len() - done;
                    bail!("stopped: {left} of {} images have no answer", images.len());
                }
            };
            let Some((image, answer)) = next else { break };
            done += 1;
            match answer {
                Ok(answer) => take(image, answer)?,
                Err(error) if images.len() == 1 => {
                    return Err(error.context(image.display().to_string()));
                }
                Err(error) => {
                    failed += 1;
                    eprintln!("lfbm: {}: {}", image.display(), one_line(error.as_ref()));
                }
            }
        }
        ensure!(
            failed == 0,
            "{failed} of {} images have no answer",
            images.len()
        );
        Ok(())
    }
}
