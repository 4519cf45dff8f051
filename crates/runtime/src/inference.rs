//! Short-run Langevin inference for a set of images: what `trainer evaluate` reports.

use std::ops::Range;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use lfbm_bundle::manifest::{Langevin, Manifest};
use lfbm_detector::{ChainScore, Score, aggregate};
use lfbm_model::ImageSpec;

use crate::chain::{Chain, ChainSizes};
use crate::chain_batch::ChainBatch;
use crate::chain_graphs::ChainGraphs;
use crate::error::RuntimeError;
use crate::graphs::Decoder;
use crate::library::Runtime;
use crate::options::SessionOptions;
use crate::sampler::Sampler;

/// Seed of the scores in reports and calibrations, and of served scores that name none.
pub const SCORE_SEED: u64 = 0;

/// Chains that run together on a thread at most.
const ROWS: usize = 256;

/// A bundle's graphs, open.
pub struct Inference {
    /// One for each worker, a thread.
    workers: Vec<ChainGraphs>,
    sampler: Sampler,
    decoder: Option<Decoder>,
    image: ImageSpec,
    latent_dim: usize,
    sizes: ChainSizes,
}

/// Images, or the x of their sites, each with the same number of chains; row r is a chain of input
/// r / chains.
#[derive(Clone, Copy)]
struct Rows<'a> {
    inputs: &'a [f32],
    masks: Option<&'a [f32]>,
    langevin: &'a Langevin,
    chains: usize,
    seed: u64,
}

impl Inference {
    /// Opens the graphs in `dir`, which `manifest` describes.
    ///
    /// # Errors
    /// When ONNX Runtime refuses a graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        Ok(Self {
            workers: ChainGraphs::open(runtime, dir, manifest, options)?,
            sampler: Sampler::open(runtime, dir, manifest, options)?,
            decoder: (manifest.has_decoder())
                .then(|| Decoder::open(runtime, dir, manifest, options))
                .transpose()?,
            image: manifest.image,
            latent_dim: manifest.latent_dim,
            sizes: ChainSizes::new(manifest),
        })
    }

    /// Whether x are features, of which a decoder makes pixels.
    pub fn has_decoder(&self) -> bool {
        self.decoder.is_some()
    }

    /// The images that the model is for.
    pub fn image(&self) -> &ImageSpec {
        &self.image
    }

    /// Scores `images`, n x C H W intensities in [0, 1], every one under the same `seed`, as a
    /// server does that gets them one by one. `progress` is told how many are done. Where images have
    /// sites, these are scored instead of them: n x S D values of x.
    ///
    /// # Errors
    /// When a run fails.
    pub fn score(
        &mut self,
        images: &[f32],
        langevin: &Langevin,
        seed: u64,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Score>, RuntimeError> {
        let chains = self.chains(images, None, langevin, seed, progress)?;
        let scores = chains
            .iter()
            .map(|of_image| aggregate(of_image, langevin.aggregation));
        Ok(scores.flatten().collect())
    }

    /// The chains of each of `images`, or sites, as [`score`](Self::score) runs them. `masks`, n x H W with 1
    /// for a visible pixel and 0 for a hidden one, hides pixels, which then change nothing.
    ///
    /// # Errors
    /// When a run fails.
    pub fn chains(
        &mut self,
        images: &[f32],
        masks: Option<&[f32]>,
        langevin: &Langevin,
        seed: u64,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<ChainScore>>, RuntimeError> {
        let chains = langevin.chains.max(1) as usize;
        let rows = Rows {
            inputs: images,
            masks,
            langevin,
            chains,
            seed,
        };
        let total = images.len() / self.sizes.values * chains;
        let workers = self.workers.len();
        // As many for each worker, and as even as can be.
        let at_once = total
            .div_ceil(workers * total.div_ceil(workers * ROWS).max(1))
            .max(1);
        let batches = total.div_ceil(at_once);
        let next = &AtomicUsize::new(0);
        let mut ended = vec![Vec::new(); batches];
        thread::scope(|scope| {
            let (end, ends) = mpsc::channel();
            for graphs in &mut self.workers {
                let end = end.clone();
                scope.spawn(move || {
                    loop {
                        let batch = next.fetch_add(1, Ordering::Relaxed);
                        if batch >= batches {
                            break;
                        }
                        let first = batch * at_once;
                        let result = run(graphs, first..total.min(first + at_once), rows);
                        // Nobody listens after a failure.
                        if end.send((batch, result)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(end);
            let mut done = 0;
            for (batch, result) in ends {
                ended[batch] = result?;
                done += ended[batch].len();
                progress(done / chains);
            }
            Ok(())
        })?;
        let mut ended = ended.into_iter().flatten();
        let of_image = |_| ended.by_ref().take(chains).collect();
        Ok((0..total / chains).map(of_image).collect())
    }

    /// x of `images`, n x C H W intensities in [0, 1]: n x C H W, or n x S D where images have sites.
    ///
    /// # Errors
    /// When a run fails.
    pub fn preprocess(&mut self, images: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        let n = images.len() / self.image.pixels();
        let pixels = self.image.pixels();
        let of_worker = n.div_ceil(self.workers.len()).max(1) * pixels;
        thread::scope(|scope| {
            let parts: Vec<_> = images
                .chunks(of_worker)
                .zip(&mut self.workers)
                .map(|(images, graphs)| scope.spawn(move || preprocess(graphs, images, pixels)))
                .collect();
            let mut x = Vec::new();
            for part in parts {
                x.extend(part.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok(x)
        })
    }

    /// Pixels in the value range of images that the model makes of latents, n x d: g(z), or where x are features of the
    /// whole image, what the decoder makes.
    ///
    /// # Errors
    /// When the run fails.
    pub fn reconstruct(&mut self, z: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        let Some(decoder) = &mut self.decoder else {
            return self.sampler.generate(z);
        };
        let rows = z.len() / self.latent_dim;
        let mut pixels = vec![0.0; rows * self.image.pixels()];
        decoder.run(rows, z, &mut pixels)?;
        Ok(pixels)
    }

    /// `n` images from the prior: z0 ~ N(0, I), z = f(z0), g(z).
    ///
    /// # Errors
    /// When the run fails.
    pub fn sample_prior(&mut self, n: usize, seed: u64) -> Result<Vec<f32>, RuntimeError> {
        self.sampler.sample(n, seed)
    }
}

/// x of images of so many values.
fn preprocess(
    graphs: &mut ChainGraphs,
    images: &[f32],
    pixels: usize,
) -> Result<Vec<f32>, RuntimeError> {
    let n = images.len() / pixels;
    let Some(sites) = graphs.sizes.sites else {
        let mut x = vec![0.0; n * graphs.sizes.values];
        graphs.preprocess.run(n, images, &mut x)?;
        return Ok(x);
    };
    // One by one, as a server reads them: maps of features are large, and sums may depend on the size of
    // a batch.
    let of_image = sites * graphs.sizes.values;
    let mut x = vec![0.0; n * of_image];
    for (image, x) in images.chunks(pixels).zip(x.chunks_mut(of_image)) {
        graphs.preprocess.run(1, image, x)?;
    }
    Ok(x)
}

/// Runs some of the rows from their images to their ends.
fn run(
    graphs: &mut ChainGraphs,
    some: Range<usize>,
    rows: Rows<'_>,
) -> Result<Vec<ChainScore>, RuntimeError> {
    let ChainSizes {
        values,
        positions,
        sites,
        ..
    } = graphs.sizes;
    let mut batch = ChainBatch::new(some.len(), &[], graphs.sizes);
    for row in some {
        let input = row / rows.chains;
        let chain = Chain {
            input: &rows.inputs[input * values..][..values],
            mask: rows
                .masks
                .map(|masks| &masks[input * positions..][..positions]),
            site: (input % sites.unwrap_or(1)) as u32,
            langevin: *rows.langevin,
            seed: rows.seed,
            number: (row % rows.chains) as u32,
            keep_x: false,
            reconstruct: false,
        };
        batch.push(row, chain, None);
    }
    batch.prepare(graphs)?;
    let mut ended = Vec::with_capacity(batch.len());
    while !batch.is_empty() {
        batch.step(graphs, &mut ended)?;
    }
    ended.sort_unstable_by_key(|chain| chain.tag);
    Ok(ended.into_iter().map(|chain| chain.score).collect())
}
