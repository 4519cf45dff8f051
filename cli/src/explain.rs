//! `lfbm explain`.

use std::path::{Path, PathBuf};

use clap::Args;
use lfbm_wire::{ExplainRequest, ExplainResponse, ImageForm};
use serde_json::Value;

use crate::calls::ImageArgs;
use crate::chain;
use crate::connection::Connector;
use crate::inference::VerdictArgs;
use crate::nearest;
use crate::output::{OutArgs, Places, new_table, print_line, print_table};
use crate::score::{Printer, describe, score_object};
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  lfbm explain part.png                      writes part.heatmap.png
  lfbm explain --chains 4 --out why parts/   densities of four chains, the best one's heatmap in why/

Of a model with a reconstruction, the heatmap is red where the image is brighter than the model expects, blue
where it is darker. Of another, it is the image with the map laid over it, from blue over magenta, at the map's
threshold, to yellow. Regions above the threshold of a map are listed, in pixels of the image.
Of a model that knows the names of its normal images, the nearest ones are listed, too.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    out: OutArgs,
    /// Write the image with what is unusual laid over it, too, as NAME.overlay.png
    #[arg(long)]
    overlay: bool,
    /// Write the image as the model sees it, too, as NAME.reconstruction.png; of models that have a reconstruction
    #[arg(long)]
    reconstruction: bool,
    /// One JSON object an image, as soon as it is explained
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verdict: VerdictArgs,
    #[command(flatten)]
    images: ImageArgs,
}

pub(crate) async fn run(
    connector: &Connector,
    args: &ExplainArgs,
    stop: &Stop,
) -> anyhow::Result<()> {
    let calls = args.images.prepare(connector, stop).await?;
    let places = args.out.places(&calls.images.names)?;
    let inference = &args.images.call.inference;
    let ask = async |image: &Path| {
        let (image, mask) = calls.read(image).await?;
        let request = ExplainRequest {
            model: inference.model.clone(),
            version: inference.model_version,
            image: Some(image),
            inference: Some(inference.parameters()),
            mask,
            priority: calls.priority.into(),
            form: ImageForm::Png.into(),
            false_alarm_rate: args.verdict.false_alarm_rate,
        };
        let call = async || calls.client.clone().explain(request.clone()).await;
        calls.call(call).await
    };
    let [log_prior, log_likelihood, log_joint] = chain::COLUMNS;
    let header = [
        "image",
        "chain",
        log_prior,
        log_likelihood,
        log_joint,
        "heatmap",
    ];
    let mut table = new_table(header, 1..5);
    let header = [
        "image",
        "region at x, y",
        "size",
        "area",
        "peak",
        "peak p-value",
        "heatmap",
    ];
    let mut regions = new_table(header, 1..6);
    let header = [
        "image",
        "nearest normal image",
        "by",
        "distance",
        "at x, y",
        "heatmap",
    ];
    let mut normals = new_table(header, 3..5);
    let mut scores = Printer::table();
    let take = |image: &Path, reply: ExplainResponse| {
        let heatmap = write(args, &places, image, &reply)?;
        let (image, heatmap) = (image.display().to_string(), heatmap.display().to_string());
        if args.json {
            let mut object = score_object(&image, &reply.score.unwrap_or_default());
            let chains: Vec<_> = reply.chains.iter().map(chain::json).collect();
            object.insert("chains".to_owned(), chains.into());
            let nearest: Vec<_> = reply.nearest_normals.iter().map(nearest::json).collect();
            object.insert("nearest_normals".to_owned(), nearest.into());
            object.insert("heatmap".to_owned(), heatmap.into());
            return Ok(print_line(Value::Object(object))?);
        }
        if let Some(score) = &reply.score {
            scores.add(&image, score)?;
        }
        for region in reply.score.iter().flat_map(|score| &score.regions) {
            let [corner, size, area, peak, p_value] = describe(region);
            regions.add_row([
                image.clone(),
                corner,
                size,
                area,
                peak,
                p_value,
                heatmap.clone(),
            ]);
        }
        for normal in &reply.nearest_normals {
            let [file, by, distance, at] = nearest::cells(normal);
            normals.add_row([image.clone(), file, by, distance, at, heatmap.clone()]);
        }
        for (index, score) in reply.chains.iter().enumerate() {
            let [log_prior, log_likelihood, log_joint] = chain::cells(score);
            table.add_row([
                image.clone(),
                index.to_string(),
                log_prior,
                log_likelihood,
                log_joint,
                heatmap.clone(),
            ]);
        }
        Ok(())
    };
    let result = calls.for_each(ask, take).await;
    scores.finish()?;
    print_table(&table)?;
    print_table(&regions)?;
    print_table(&normals)?;
    result
}

/// Writes the images of a reply, and says where the heatmap is.
fn write(
    args: &ExplainArgs,
    places: &Places<'_>,
    image: &Path,
    reply: &ExplainResponse,
) -> anyhow::Result<PathBuf> {
    if args.overlay {
        places.write(image, "overlay", Some(&reply.overlay))?;
    }
    if args.reconstruction {
        match &reply.reconstruction {
            Some(made) => {
                places.write(image, "reconstruction", Some(&made.png))?;
            }
            None => eprintln!(
                "{}: no reconstruction: the model {} makes none",
                image.display(),
                reply
                    .score
                    .as_ref()
                    .and_then(|score| score.model.as_ref())
                    .map_or("", |model| &model.name)
            ),
        }
    }
    // A model without a reconstruction has no residual.
    let residual = reply.residual.as_ref().map(|made| &made.png[..]);
    let heatmap = residual.unwrap_or(&reply.overlay);
    places.write(image, "heatmap", Some(heatmap))
}
