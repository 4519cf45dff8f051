//! `lfbm score --frames`: the images of a stream, such as ffmpeg makes of a camera.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, ensure};
use clap::{Args, value_parser};
use futures_util::{StreamExt, stream};
use lfbm_images::frames::{FrameError, Frames};
use tokio::sync::mpsc;
use tonic::Response;

use super::{Scorer, Seen};
use crate::calls::Calls;
use crate::inputs::STDIN;

#[derive(Args)]
pub(crate) struct FrameArgs {
    /// Score the PNG and JPEG images that follow one another in a file or pipe, - for standard input,
    /// as ffmpeg writes them with -f image2pipe
    #[arg(long, value_name = "FILE", conflicts_with_all = ["images", "files_from"])]
    frames: Option<PathBuf>,
    /// Score the first of every N frames
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["images", "files_from"],
        default_value_t = 1,
        value_parser = value_parser!(u64).range(1..)
    )]
    every: u64,
    /// Bytes that a frame may have
    #[arg(
        long,
        value_name = "BYTES",
        conflicts_with_all = ["images", "files_from"],
        default_value_t = 16 << 20,
        value_parser = value_parser!(u64).range(1..=lfbm_images::MAX_FILE_BYTES)
    )]
    max_frame_bytes: u64,
}

/// A frame with its number, from 1; or why there are no more.
type Frame = (u64, Result<Vec<u8>, FrameError>);

impl FrameArgs {
    pub(super) fn source(&self) -> Option<&Path> {
        self.frames.as_deref()
    }

    /// Reads on a thread of its own, as far ahead as the scores allow.
    fn read(&self, source: &Path) -> anyhow::Result<mpsc::Receiver<Frame>> {
        let input: Box<dyn Read + Send> = if source == Path::new(STDIN) {
            Box::new(io::stdin())
        } else {
            let name = || format!("--frames {}", source.display());
            Box::new(File::open(source).with_context(name)?)
        };
        let frames = Frames::new(input, self.max_frame_bytes);
        let every = self.every;
        let (sender, receiver) = mpsc::channel(1);
        let wanted =
            move |(number, frame): &Frame| frame.is_err() || (number - 1).is_multiple_of(every);
        thread::Builder::new()
            .name("frames".to_owned())
            .spawn(move || {
                for frame in (1..).zip(frames).filter(wanted) {
                    if sender.blocking_send(frame).is_err() {
                        return;
                    }
                }
            })?;
        Ok(receiver)
    }
}

/// Scores the frames of a stream, in their order, until it ends.
pub(super) async fn score(
    args: &FrameArgs,
    source: &Path,
    calls: &Calls,
    scorer: &Scorer<'_>,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let frames = stream::unfold(args.read(source)?, async |mut frames| {
        frames.recv().await.map(|frame| (frame, frames))
    });
    let answers = frames
        .map(async |(number, frame)| {
            let answer = async {
                let (image, mask) = calls.with_mask(frame?)?;
                let request = scorer.request(image, mask);
                calls
                    .call(async || scorer.attempt(&request).await.map(Response::new))
                    .await
            };
            (number, answer.await)
        })
        .buffered(calls.at_once);
    let name = |number: &u64| format!("frame {number}");
    let take = |number: u64, reply| seen.take(&name(&number), &reply);
    let tally = calls.take_all(answers, name, take).await?;
    let (done, failed) = (tally.done, tally.failed);
    ensure!(
        !tally.stopped,
        "stopped: {done} frames have an answer or an error; the others have none"
    );
    ensure!(
        done > 0,
        "--frames {}: expected images, got none",
        source.display()
    );
    ensure!(failed == 0, "{failed} of {done} frames have no answer");
    Ok(())
}
