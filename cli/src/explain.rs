//! `lfbm explain`.

use std::path::Path;

use clap::Args;
use lfbm_wire::{ExplainRequest, ExplainResponse, ImageForm};
use serde_json::Value;

use crate::calls::ImageArgs;
use crate::chain;
use crate::connection::Connector;
use crate::output::{OutArgs, new_table, print_line, print_table};
use crate::score::score_object;
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  lfbm explain part.png                      writes part.heatmap.png
  lfbm explain --chains 4 --out why parts/   four reconstructions an image, heatmaps in why/

The heatmap is red where the image is brighter than the model expects, blue where it is darker.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    out: OutArgs,
    /// Write what the model makes of the image, too, as NAME.reconstruction.png
    #[arg(long)]
    reconstruction: bool,
    /// One JSON object an image, as soon as it is explained
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    images: ImageArgs,
}

pub(crate) async fn run(
    connector: &Connector,
    args: &ExplainArgs,
    stop: &Stop,
) -> anyhow::Result<()> {
    let calls = args.images.prepare(connector, stop).await?;
    args.out.keep_apart(&calls.images)?;
    let inference = &args.images.inference;
    let ask = async |image: &Path| {
        let (image, mask) = calls.read(image)?;
        let request = ExplainRequest {
            model: inference.model.clone(),
            version: inference.model_version,
            image: Some(image),
            inference: Some(inference.parameters()),
            mask,
            priority: calls.priority.into(),
            form: ImageForm::Png.into(),
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
    let take = |image: &Path, reply: ExplainResponse| {
        let heatmap = args.out.write(image, "heatmap", reply.residual.as_ref())?;
        if args.reconstruction {
            let reconstruction = reply.reconstruction.as_ref();
            args.out.write(image, "reconstruction", reconstruction)?;
        }
        let (image, heatmap) = (image.display().to_string(), heatmap.display().to_string());
        if args.json {
            let mut object = score_object(&image, &reply.score.unwrap_or_default());
            let chains: Vec<_> = reply.chains.iter().map(chain::json).collect();
            object.insert("chains".to_owned(), chains.into());
            object.insert("heatmap".to_owned(), heatmap.into());
            return Ok(print_line(Value::Object(object))?);
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
    print_table(&table)?;
    result
}
