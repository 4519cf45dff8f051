//! `lfbm models`.

use clap::Args;
use lfbm_wire::{
    ChainStart, Decision, ImageSpec, InferenceParameters, ListModelsRequest, Model, Prior,
    Representation, short_name,
};
use serde_json::json;

use crate::connection::Connector;
use crate::output::{new_table, print_line};
use crate::status::failure;

#[derive(Args)]
#[command(after_help = "Example:\n  lfbm models --json")]
pub(crate) struct ModelsArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(connector: &Connector, args: &ModelsArgs) -> anyhow::Result<()> {
    let mut client = connector.detector().await?;
    let reply = client.list_models(ListModelsRequest {}).await;
    let models = reply.map_err(failure)?.into_inner().models;
    if args.json {
        for model in &models {
            print_line(as_json(model))?;
        }
        return Ok(());
    }
    let header = [
        "model",
        "version",
        "image (C, H, W)",
        "x",
        "generator",
        "d",
        "prior",
        "steps",
        "step size",
        "chains",
        "anomalous if",
        "normal classes",
    ];
    let mut table = new_table(header, 0..0);
    for model in &models {
        let id = model.id.clone().unwrap_or_default();
        let image = model.image.unwrap_or_default();
        let inference = model.inference.unwrap_or_default();
        table.add_row([
            id.name,
            id.version.to_string(),
            format!("{}, {}, {}", image.channels, image.height, image.width),
            representation(model),
            model.generator.clone(),
            model.latent_dim.to_string(),
            prior(model).to_owned(),
            steps(model, inference.steps()),
            inference.step_size().to_string(),
            inference.chains().to_string(),
            anomalous_if(model),
            model.normal_classes.join(" "),
        ]);
    }
    Ok(print_line(table)?)
}

fn prior(model: &Model) -> &'static str {
    match model.prior() {
        Prior::Flow => "flow",
        Prior::Ebm => "ebm, unnormalised",
        Prior::Gaussian => "gaussian",
        Prior::Unspecified => "",
    }
}

fn steps(model: &Model, steps: u32) -> String {
    match model.chain_start() {
        ChainStart::Encoder => format!("{steps} from the encoder"),
        ChainStart::StandardNormal | ChainStart::Unspecified => steps.to_string(),
    }
}

/// What makes an image anomalous, in words.
fn anomalous_if(model: &Model) -> String {
    match model.decision() {
        Decision::Local => format!("local score > {:.2}", model.threshold_local_score),
        Decision::LogJoint => format!("log joint < {:.1}", model.threshold_log_joint),
        Decision::Sites => match model.threshold_site_score {
            Some(threshold) => format!("site score > {threshold:.2}"),
            None => String::new(),
        },
        Decision::Unspecified => String::new(),
    }
}

/// What x is, in words.
fn representation(model: &Model) -> String {
    let Some(x) = &model.representation else {
        return String::new();
    };
    let kind = kind(x).unwrap_or_default();
    let network = x.network.as_ref();
    let network = network.map_or(String::new(), |network| format!(" {}", network.name));
    match (x.rows, x.columns) {
        (1, 1) => format!("{kind}{network}"),
        (rows, columns) => format!("{kind}{network}, {rows} x {columns} sites of {}", x.values),
    }
}

fn kind(x: &Representation) -> Option<String> {
    short_name(x.kind().as_str_name(), "REPRESENTATION_KIND_")
}

fn as_json(model: &Model) -> serde_json::Value {
    let id = model.id.clone().unwrap_or_default();
    let ImageSpec {
        channels,
        height,
        width,
    } = model.image.unwrap_or_default();
    let inference: InferenceParameters = model.inference.unwrap_or_default();
    let representation = model.representation.as_ref().map(|x| {
        json!({
            "kind": kind(x),
            "rows": x.rows,
            "columns": x.columns,
            "values": x.values,
            "network": x.network.as_ref().map(|network| {
                json!({ "name": network.name, "licence": network.licence })
            }),
        })
    });
    json!({
        "model": id.name,
        "version": id.version,
        "image": { "channels": channels, "height": height, "width": width },
        "generator": model.generator,
        "latent_dim": model.latent_dim,
        "prior": short_name(model.prior().as_str_name(), "PRIOR_"),
        "chain_start": short_name(model.chain_start().as_str_name(), "CHAIN_START_"),
        "inference": {
            "steps": inference.steps(),
            "step_size": inference.step_size(),
            "noise_free_steps": inference.noise_free_steps(),
            "chains": inference.chains(),
            "aggregation": short_name(inference.aggregation().as_str_name(), "AGGREGATION_"),
        },
        "decision": short_name(model.decision().as_str_name(), "DECISION_"),
        "threshold_log_joint": model.threshold_log_joint,
        "threshold_local_score": model.threshold_local_score,
        "threshold_site_score": model.threshold_site_score,
        "map_threshold": model.map_threshold,
        "false_positive_rate": model.false_positive_rate,
        "ranked_images": model.ranked_images,
        "smallest_false_alarm_rate": model.smallest_false_alarm_rate,
        "representation": representation,
        "normal_classes": model.normal_classes,
    })
}
