//! What clients ask of the models themselves: metadata, configuration, statistics, and which there
//! are.

use std::collections::HashMap;
use std::sync::Arc;

use lfbm_bundle::manifest::{Aggregation, Manifest};
use lfbm_wire::inference as v2;
use prometheus::Histogram;

use super::outputs::outputs;
use crate::models::{Catalog, Model, Refused, Unknown};
use crate::telemetry::Total;
use crate::wire::open_inference::INPUT;
use v2::model_config::SchedulingChoice;
use v2::model_instance_group::Kind;
use v2::model_metadata_response::TensorMetadata;
use v2::model_version_policy::{All, PolicyChoice};
use v2::repository_index_response::ModelIndex;

/// What the protocol calls the thing that runs a model.
const PLATFORM: &str = "onnxruntime_onnx";
const BACKEND: &str = "onnxruntime";
/// Of a request's message, besides the images.
const ENVELOPE_BYTES: usize = 1024;
/// Bytes of an intensity, in the larger of the two types that are taken.
const VALUE_BYTES: usize = 4;

const READY: &str = "READY";
const UNAVAILABLE: &str = "UNAVAILABLE";

/// `ModelMetadata`.
pub(crate) fn metadata(model: &Model, catalog: &Catalog) -> v2::ModelMetadataResponse {
    let manifest = &model.manifest;
    let versions = catalog
        .iter()
        .filter(|model| model.manifest.name == manifest.name)
        .map(|model| model.manifest.version.to_string());
    let tensor = |name: &str, datatype: &str, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: [&[-1], shape].concat(),
    };
    v2::ModelMetadataResponse {
        name: manifest.name.clone(),
        versions: versions.collect(),
        platform: PLATFORM.to_owned(),
        inputs: vec![tensor(INPUT, "UINT8", &sizes(manifest))],
        outputs: outputs(manifest)
            .map(|output| tensor(output.name, output.datatype(), &[]))
            .collect(),
    }
}

/// Images of a request at most, whatever their size: as many of the model's size, a byte a value, as fit a message.
pub(super) fn most_images(manifest: &Manifest, max_message_bytes: usize) -> usize {
    (max_message_bytes / manifest.image.pixels().max(1)).max(1)
}

/// Images of the model's size that fit a message whatever their type.
fn max_batch_size(manifest: &Manifest, max_message_bytes: usize) -> usize {
    let image_bytes = VALUE_BYTES * manifest.image.pixels();
    (max_message_bytes.saturating_sub(ENVELOPE_BYTES) / image_bytes.max(1)).max(1)
}

/// `ModelConfig`.
pub(super) fn config(model: &Model, max_message_bytes: usize) -> v2::ModelConfig {
    let manifest = &model.manifest;
    let gpus = model.devices.gpus();
    let kind = if gpus.is_empty() {
        Kind::Cpu
    } else {
        Kind::Gpu
    };
    // Of each GPU, where there are any.
    let instances = model.scheduler.workers() / gpus.len().max(1);
    v2::ModelConfig {
        name: manifest.name.clone(),
        platform: PLATFORM.to_owned(),
        backend: BACKEND.to_owned(),
        version_policy: Some(v2::ModelVersionPolicy {
            policy_choice: Some(PolicyChoice::All(All {})),
        }),
        max_batch_size: i32::try_from(max_batch_size(manifest, max_message_bytes))
            .unwrap_or(i32::MAX),
        input: vec![v2::ModelInput {
            name: INPUT.to_owned(),
            data_type: v2::DataType::TypeUint8.into(),
            format: v2::model_input::Format::Nchw.into(),
            dims: sizes(manifest).to_vec(),
        }],
        output: outputs(manifest)
            .map(|output| v2::ModelOutput {
                name: output.name.to_owned(),
                data_type: output.data_type().into(),
                dims: Vec::new(),
            })
            .collect(),
        instance_group: vec![v2::ModelInstanceGroup {
            name: manifest.name.clone(),
            count: i32::try_from(instances).unwrap_or(i32::MAX),
            gpus,
            kind: kind.into(),
        }],
        scheduling_choice: Some(SchedulingChoice::DynamicBatching(
            v2::ModelDynamicBatching {},
        )),
        parameters: parameters(model),
    }
}

fn parameters(model: &Model) -> HashMap<String, v2::ModelParameter> {
    let (manifest, thresholds) = (&model.manifest, &model.thresholds);
    let langevin = &manifest.langevin;
    let aggregation = match langevin.aggregation {
        Aggregation::Mean => "mean",
        Aggregation::Max => "max",
        Aggregation::LogMeanExp => "log_mean_exp",
    };
    let parameters = [
        ("steps", langevin.steps.to_string()),
        ("step_size", langevin.step_size.to_string()),
        ("noise_free_steps", langevin.noise_free_steps.to_string()),
        ("chains", langevin.chains.to_string()),
        ("aggregation", aggregation.to_owned()),
        ("decision", thresholds.decision.to_string()),
        (
            "false_positive_rate",
            thresholds.false_positive_rate.to_string(),
        ),
        (
            "representation",
            manifest.representation.kind.as_str().to_owned(),
        ),
        ("sites", manifest.sites().to_string()),
    ];
    let parameter = |string_value| v2::ModelParameter { string_value };
    parameters
        .map(|(name, value)| (name.to_owned(), parameter(value)))
        .into()
}

/// `ModelStatistics` of the models of a name, or of all if there is none, of one version or, if it
/// is 0, of every one.
///
/// # Errors
/// When there is no such model.
pub(super) fn statistics(
    catalog: &Catalog,
    name: &str,
    version: u64,
) -> Result<v2::ModelStatisticsResponse, Unknown> {
    if !name.is_empty() {
        catalog.get(name, version)?;
    }
    let is_meant = |model: &&Arc<Model>| {
        let manifest = &model.manifest;
        (name.is_empty() || manifest.name == name) && (version == 0 || manifest.version == version)
    };
    let models = catalog.iter().filter(is_meant);
    Ok(v2::ModelStatisticsResponse {
        model_stats: models.map(|model| statistics_of(model)).collect(),
    })
}

fn statistics_of(model: &Model) -> v2::ModelStatistics {
    let metrics = &model.metrics;
    let requests = &metrics.statistics;
    v2::ModelStatistics {
        name: model.manifest.name.clone(),
        version: model.manifest.version.to_string(),
        last_inference: requests.last_ms(),
        inference_count: metrics.compute_seconds.get_sample_count(),
        execution_count: metrics.step_count(),
        inference_stats: Some(v2::InferStatistics {
            success: Some(duration(requests.success())),
            fail: Some(duration(requests.fail())),
            queue: Some(duration(total(&metrics.queue_seconds))),
            compute_infer: Some(duration(total(&metrics.compute_seconds))),
        }),
    }
}

fn total(seconds: &Histogram) -> Total {
    Total {
        count: seconds.get_sample_count(),
        nanoseconds: (seconds.get_sample_sum() * 1e9) as u64,
    }
}

fn duration(total: Total) -> v2::StatisticDuration {
    v2::StatisticDuration {
        count: total.count,
        ns: total.nanoseconds,
    }
}

/// `RepositoryIndex`; a server that stops has no model that is ready.
pub(crate) fn index(
    catalog: &Catalog,
    serving: bool,
    ready_only: bool,
) -> v2::RepositoryIndexResponse {
    let served = catalog.iter().map(|model| ModelIndex {
        name: model.manifest.name.clone(),
        version: model.manifest.version.to_string(),
        state: if serving { READY } else { UNAVAILABLE }.to_owned(),
        reason: if serving { "" } else { "the server stops" }.to_owned(),
    });
    let refused = catalog.refused().iter().map(|refused| {
        let Refused { bundle, reason } = refused;
        let folder = bundle.file_name().unwrap_or(bundle.as_os_str());
        ModelIndex {
            name: folder.to_string_lossy().into_owned(),
            version: String::new(),
            state: UNAVAILABLE.to_owned(),
            reason: reason.clone(),
        }
    });
    let unloaded = catalog.unloaded().iter().map(|unloaded| ModelIndex {
        name: unloaded.name.clone(),
        version: unloaded.version.to_string(),
        state: UNAVAILABLE.to_owned(),
        reason: "unloaded on request".to_owned(),
    });
    let present = served.chain(unloaded).chain(refused);
    let mut models: Vec<_> = present
        .filter(|model| !ready_only || model.state == READY)
        .collect();
    // Stable: versions of a model stay in their order.
    models.sort_by(|a, b| a.name.cmp(&b.name));
    v2::RepositoryIndexResponse { models }
}

/// C, H, W; images of any height and width are taken.
fn sizes(manifest: &Manifest) -> [i64; 3] {
    [manifest.image.channels as i64, -1, -1]
}
