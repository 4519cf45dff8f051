//! `lfbm sample`.

use std::path::PathBuf;

use clap::Args;
use lfbm_wire::{ImageForm, SampleRequest};

use crate::connection::Connector;
use crate::output::{print_line, write_image};
use crate::status::failure;

#[derive(Args)]
#[command(after_help = "Example:\n  lfbm sample --count 64 --out samples/")]
pub(crate) struct SampleArgs {
    /// How many images
    #[arg(long, default_value_t = 16)]
    count: u32,
    /// The folder for the images
    #[arg(long, value_name = "DIR", default_value = "samples")]
    out: PathBuf,
    /// The model; may be left out when the server has one
    #[arg(long, default_value = "", hide_default_value = true)]
    model: String,
    /// The model's version; 0 is the highest
    #[arg(long, default_value_t = 0)]
    model_version: u64,
    /// Decides the images
    #[arg(long)]
    seed: Option<u64>,
}

/// Prints the name of every image that it writes.
pub(crate) async fn run(connector: &Connector, args: &SampleArgs) -> anyhow::Result<()> {
    let request = SampleRequest {
        model: args.model.clone(),
        version: args.model_version,
        count: args.count,
        seed: args.seed,
        form: ImageForm::Png.into(),
    };
    let reply = connector.detector().await?.sample(request).await;
    let images = reply.map_err(failure)?.into_inner().images;
    for (index, image) in images.iter().enumerate() {
        let path = args.out.join(format!("sample-{index}.png"));
        write_image(&path, Some(&image.png))?;
        print_line(path.display())?;
    }
    Ok(())
}
