//! Features of a convolutional network at every site, as PaDiM (Defard et al., 2021) and `PatchCore`
//! (Roth et al., 2022) have them.

use lfbm_onnx::{Dim, Graph, GraphError, Tensor, Value};

use super::axis::{AxisMap, map_axes};
use super::sites::{FeatureGrid, SiteMap, image_graph};
use crate::error::ModelError;
use crate::image::ImageSpec;

/// How intensities v in [0, 1] become a network's input: (v - mean) / std, for red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Means.
    pub mean: [f32; 3],
    /// Standard deviations.
    pub std: [f32; 3],
}

impl Normalization {
    /// That of networks which were trained on ImageNet with torchvision.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
}

/// Features of a network: some of its maps, each averaged over 3 x 3 positions, as far as they are in
/// the map, brought to the size of the finest one by bilinear interpolation, and joined.
#[derive(Clone, Debug)]
pub struct NetworkFeatures<'a> {
    /// From one input `[B,3,H + 2 border,W + 2 border]` to maps `[B,channels,rows,columns]`, which are
    /// its outputs. Grey images are given to it as RGB.
    pub network: &'a Graph,
    /// Names of the outputs that are taken.
    pub taps: Vec<String>,
    /// Pixels by which the image is reflected beyond each of its sides, for the zeros with which
    /// convolutions pad would be features of the border. What the maps have there is cut off again. A
    /// multiple of the taps' strides, below H and W, or 0.
    pub border: usize,
    /// What intensities become; `None` for a network that takes them as they are.
    pub normalization: Option<Normalization>,
}

/// A map without the border, and how large it is.
struct Tap {
    map: Value,
    channels: usize,
    rows: usize,
    columns: usize,
}

impl NetworkFeatures<'_> {
    pub(super) fn graph(&self, spec: &ImageSpec) -> Result<(Graph, SiteMap), ModelError> {
        self.check(spec)?;
        let (mut graph, image) = image_graph(spec);
        let padded = reflected(&mut graph, &image, 2, self.border)?;
        let padded = reflected(&mut graph, &padded, 3, self.border)?;
        let rgb = match spec.channels {
            1 => graph.concat(&[&padded; 3], 1)?,
            _ => padded,
        };
        let input = match &self.normalization {
            Some(normalization) => normalized(&mut graph, &rgb, normalization)?,
            None => rgb,
        };
        let taps = self.taps(&mut graph, &input, spec)?;
        let finest = taps.iter().max_by_key(|tap| tap.rows * tap.columns);
        let grid = FeatureGrid {
            rows: finest.map_or(0, |tap| tap.rows),
            columns: finest.map_or(0, |tap| tap.columns),
            values: taps.iter().map(|tap| tap.channels).sum(),
        };
        let mut maps = Vec::with_capacity(taps.len());
        for tap in &taps {
            let axes = [(tap.rows, grid.rows), (tap.columns, grid.columns)];
            let axes = axes.map(|(positions, sites)| {
                AxisMap::neighbour_means(positions, 1)
                    .then(&AxisMap::interpolation(positions, sites))
            });
            maps.push(map_axes(&mut graph, &tap.map, &axes[0], &axes[1])?);
        }
        let maps: Vec<_> = maps.iter().collect();
        let map = graph.concat(&maps, 1)?;
        Ok((graph, SiteMap { map, grid }))
    }

    fn check(&self, spec: &ImageSpec) -> Result<(), ModelError> {
        if !matches!(spec.channels, 1 | 3) {
            return Err(ModelError::Spec(format!(
                "networks take images of 1 or 3 channels, and these have {}",
                spec.channels
            )));
        }
        if self.border >= spec.height || self.border >= spec.width {
            return Err(ModelError::Spec(format!(
                "a border of {} pixels cannot be reflected from images of {} x {} pixels; choose a \
                 smaller one",
                self.border, spec.height, spec.width
            )));
        }
        if let Some(normalization) = &self.normalization {
            let usable = |std: &f32| std.is_normal() && *std > 0.0;
            let finite = normalization.mean.iter().all(|mean| mean.is_finite());
            if !finite || !normalization.std.iter().all(usable) {
                return Err(ModelError::Spec(format!(
                    "the network's normalisation has the means {:?} and the standard deviations \
                     {:?}, expected finite means and positive deviations",
                    normalization.mean, normalization.std
                )));
            }
        }
        let sides = [spec.height, spec.width].map(|side| Dim::Fixed(side + 2 * self.border));
        let expected = [Dim::Batch, Dim::Fixed(3), sides[0], sides[1]];
        let inputs = self.network.inputs().iter();
        let shapes = inputs.map(|input| self.network.shape(input));
        let shapes: Vec<_> = shapes.collect::<Result<_, GraphError>>()?;
        if shapes != [&expected[..]] {
            let shapes = shapes.iter().map(|shape| described(shape));
            return Err(ModelError::Spec(format!(
                "the network {} has the inputs {}, expected one of {}, the image and its border of {} \
                 pixels; export it for that size, or choose that size of images",
                self.network.name(),
                shapes.collect::<Vec<_>>().join(", "),
                described(&expected),
                self.border
            )));
        }
        Ok(())
    }

    /// The maps that are taken, in the order of their names here.
    fn taps(
        &self,
        graph: &mut Graph,
        input: &Value,
        spec: &ImageSpec,
    ) -> Result<Vec<Tap>, ModelError> {
        let inputs = self.network.inputs().iter();
        let bindings: Vec<_> = inputs.map(|name| (name.name(), input)).collect();
        let maps = graph.inline(self.network, &bindings)?;
        let outputs = self.network.outputs();
        let mut taps = Vec::with_capacity(self.taps.len());
        for name in &self.taps {
            let found = outputs.iter().position(|output| output.name() == name);
            let map = found.and_then(|index| maps.get(index)).ok_or_else(|| {
                let names: Vec<_> = outputs.iter().map(Value::name).collect();
                ModelError::Spec(format!(
                    "the network {} has no output {name}; it has {}",
                    self.network.name(),
                    names.join(", ")
                ))
            })?;
            taps.push(self.tap(graph, name, map, spec)?);
        }
        if taps.is_empty() {
            return Err(ModelError::Spec(
                "no output of the network is taken, expected at least one name".to_owned(),
            ));
        }
        Ok(taps)
    }

    fn tap(
        &self,
        graph: &mut Graph,
        name: &str,
        map: &Value,
        spec: &ImageSpec,
    ) -> Result<Tap, ModelError> {
        let &[
            Dim::Batch,
            Dim::Fixed(channels @ 1..),
            Dim::Fixed(rows @ 1..),
            Dim::Fixed(columns @ 1..),
        ] = graph.shape(map)?
        else {
            return Err(ModelError::Spec(format!(
                "the network's output {name} is {}, expected maps [B, channels, rows, columns]",
                described(graph.shape(map)?)
            )));
        };
        let (map, rows) = self.cut(graph, map, name, 2, [spec.height, rows])?;
        let (map, columns) = self.cut(graph, &map, name, 3, [spec.width, columns])?;
        Ok(Tap {
            map,
            channels,
            rows,
            columns,
        })
    }

    /// Cuts the border off a map with so many positions along `axis`, of an image with so many pixels;
    /// and how many positions are left.
    fn cut(
        &self,
        graph: &mut Graph,
        map: &Value,
        name: &str,
        axis: usize,
        [pixels, positions]: [usize; 2],
    ) -> Result<(Value, usize), ModelError> {
        if self.border == 0 {
            return Ok((map.clone(), positions));
        }
        let stride = (pixels + 2 * self.border).div_ceil(positions);
        let (start, kept) = (self.border / stride, pixels.div_ceil(stride));
        if !self.border.is_multiple_of(stride) || start + kept > positions {
            return Err(ModelError::Spec(format!(
                "a border of {} pixels cannot be cut off the network's output {name}, which has a \
                 position each {stride} pixels; choose a multiple of {stride}, or no border",
                self.border
            )));
        }
        Ok((graph.slice(map, axis, start, start + kept)?, kept))
    }
}

/// `x: [B,C,H,W]` with `border` positions reflected beyond both ends of `axis`; the outermost
/// positions are not repeated.
fn reflected(
    graph: &mut Graph,
    x: &Value,
    axis: usize,
    border: usize,
) -> Result<Value, GraphError> {
    let side = match graph.shape(x)?.get(axis) {
        Some(Dim::Fixed(side)) if border > 0 => *side,
        _ => return Ok(x.clone()),
    };
    // A product with the reversed identity matrix reverses the order.
    let reversal = (0..border * border).map(|entry| {
        let (row, column) = (entry / border, entry % border);
        f32::from(u8::from(row + column + 1 == border))
    });
    let reversal = Tensor::new([border, border], reversal.collect());
    let reversal = graph.weights("reversal", reversal);
    let mut reversed = |start: usize| {
        let part = graph.slice(x, axis, start, start + border)?;
        match axis {
            2 => graph.matmul(&reversal, &part),
            _ => graph.matmul(&part, &reversal),
        }
    };
    let (before, after) = (reversed(1)?, reversed(side - 1 - border)?);
    graph.concat(&[&before, x, &after], axis)
}

fn normalized(
    graph: &mut Graph,
    rgb: &Value,
    normalization: &Normalization,
) -> Result<Value, GraphError> {
    let mut per_channel =
        |name: &str, values: [f32; 3]| graph.weights(name, Tensor::new([3, 1, 1], values.to_vec()));
    let mean = per_channel("mean", normalization.mean);
    let std = per_channel("std", normalization.std);
    let centred = graph.sub(rgb, &mean)?;
    graph.div(&centred, &std)
}

fn described(shape: &[Dim]) -> String {
    let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", sizes.join(", "))
}
