//! `lfbm inpaint`.

use std::path::Path;

use clap::{ArgGroup, Args};
use lfbm_wire::{ImageForm, InpaintRequest, InpaintResponse};
use serde_json::json;

use crate::calls::ImageArgs;
use crate::chain;
use crate::connection::Connector;
use crate::output::{OutArgs, new_table, print_line, print_table};
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  lfbm inpaint part.png --hide 0,14,28,14          the lower half of 28 x 28 pixels
  lfbm inpaint parts/ --mask scratch.png --out done/

Every chain makes a completion: NAME.inpainted-1.png has the highest log joint, and so on.";

#[derive(Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("hidden").required(true).args(["mask", "hide"])))]
pub(crate) struct InpaintArgs {
    #[command(flatten)]
    out: OutArgs,
    /// One JSON object an image, as soon as it is complete
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    images: ImageArgs,
}

pub(crate) async fn run(
    connector: &Connector,
    args: &InpaintArgs,
    stop: &Stop,
) -> anyhow::Result<()> {
    let calls = args.images.prepare(connector, stop).await?;
    let places = args.out.places(&calls.images.names)?;
    let inference = &args.images.call.inference;
    let ask = async |image: &Path| {
        let (image, mask) = calls.read(image).await?;
        let request = InpaintRequest {
            model: inference.model.clone(),
            version: inference.model_version,
            image: Some(image),
            mask,
            inference: Some(inference.parameters()),
            priority: calls.priority.into(),
            form: ImageForm::Png.into(),
        };
        let call = async || calls.client.clone().inpaint(request.clone()).await;
        calls.call(call).await
    };
    let [log_prior, log_likelihood, log_joint] = chain::COLUMNS;
    let header = ["image", log_prior, log_likelihood, log_joint, "completion"];
    let mut table = new_table(header, 1..4);
    let take = |image: &Path, reply: InpaintResponse| {
        let name = image.display().to_string();
        let mut completions = Vec::new();
        for (index, completion) in reply.completions.iter().enumerate() {
            let kind = format!("inpainted-{}", index + 1);
            let path = places.write(
                image,
                &kind,
                completion.image.as_ref().map(|made| &made.png[..]),
            )?;
            let path = path.display().to_string();
            let score = completion.score.unwrap_or_default();
            if args.json {
                let mut completion = chain::json(&score);
                completion["file"] = path.into();
                completions.push(completion);
            } else {
                let [log_prior, log_likelihood, log_joint] = chain::cells(&score);
                table.add_row([name.clone(), log_prior, log_likelihood, log_joint, path]);
            }
        }
        if args.json {
            print_line(json!({ "image": name, "completions": completions }))?;
        }
        Ok(())
    };
    let result = calls.for_each(ask, take).await;
    print_table(&table)?;
    result
}
