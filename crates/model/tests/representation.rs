//! Every representation computes what a loop over the image does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::f64::consts::PI;

use lfbm_detector::Hog;
use lfbm_model::{
    CONTRASTIVE_NETWORK, Contrast, FeatureGrid, ImageSpec, Intake, LayerWeights, NetworkFeatures,
    Normalization, Orientations, Representation, Residual, Whitening, append_whitening,
    features_graph, joined_graph,
};
use lfbm_onnx::{ConvGeometry, Dim, Graph, Tensor};
use lfbm_runtime::{Runtime, evaluate};
use lfbm_testkit::{noise, random_images};

fn spec(channels: usize, height: usize, width: usize) -> ImageSpec {
    ImageSpec {
        channels,
        height,
        width,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    }
}

/// Two images, and the values of their sites.
fn features(kind: &Representation<'_>, spec: &ImageSpec) -> (Vec<f32>, Tensor, FeatureGrid) {
    let images = random_images(spec, 2, 3);
    let (graph, grid) = features_graph(kind, spec).unwrap();
    assert_eq!(graph.name(), "preprocess");
    let x = run(&graph, spec, &images);
    assert_eq!(x.shape, [2, grid.sites(), grid.values]);
    (images, x, grid)
}

fn run(graph: &Graph, spec: &ImageSpec, images: &[f32]) -> Tensor {
    let runtime = Runtime::load(None).unwrap();
    let shape = [2, spec.channels, spec.height, spec.width];
    let input = Tensor::new(shape, images.to_vec());
    evaluate(&runtime, graph, &[input]).unwrap().remove(0)
}

fn expect_close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (index, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < tolerance, "value {index}: {a} for {b}");
    }
}

fn refusal(kind: &Representation<'_>, spec: &ImageSpec) -> String {
    features_graph(kind, spec).unwrap_err().to_string()
}

#[test]
fn tiles_are_pixels_in_the_value_range() {
    let spec = spec(3, 6, 4);
    let (images, x, grid) = features(&Representation::Tiles { side: 2 }, &spec);
    assert_eq!((grid.rows, grid.columns, grid.values), (3, 2, 12));
    let mut expected = Vec::new();
    for image in images.chunks(spec.pixels()) {
        for (row, column) in (0..3).flat_map(|row| (0..2).map(move |column| (row, column))) {
            for channel in 0..3 {
                for (r, c) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let at = (channel * 6 + 2 * row + r) * 4 + 2 * column + c;
                    expected.push(2.0 * image[at] - 1.0);
                }
            }
        }
    }
    expect_close(&x.data, &expected, 1e-6);
}

#[test]
fn tiles_normalise_contrast_over_the_image() {
    let contrast = Contrast::UnitNorm { norm: 3.0 };
    let value_range = [0.0, 1.0];
    let spec = ImageSpec {
        contrast,
        value_range,
        ..spec(1, 4, 4)
    };
    let (_, x, _) = features(&Representation::Tiles { side: 2 }, &spec);
    for image in x.data.chunks(16) {
        let square: f32 = image.iter().map(|v| v * v).sum();
        assert!((square.sqrt() - 3.0).abs() < 1e-5);
    }
}

/// Images as small as digits, ones that are averaged down, of one channel and of three, and one whose sides
/// are no multiple of the blocks.
#[test]
fn a_hog_descriptor_is_that_of_distances() {
    for (channels, height, width) in [
        (1, 28, 28),
        (3, 20, 31),
        (1, 1, 7),
        (3, 64, 96),
        (1, 70, 45),
    ] {
        let spec = spec(channels, height, width);
        let (images, x, grid) = features(&Representation::Hog, &spec);
        let hog = Hog::new([channels, height, width]).unwrap();
        assert_eq!((grid.rows, grid.columns, grid.values), (1, 1, hog.size()));
        let expected: Vec<f32> = images
            .chunks(spec.pixels())
            .flat_map(|x| hog.of(x))
            .collect();
        expect_close(&x.data, &expected, 2e-4);
    }
}

#[test]
fn an_image_without_an_edge_has_a_hog_descriptor_of_zeros() {
    let spec = spec(1, 16, 16);
    let (graph, _) = features_graph(&Representation::Hog, &spec).unwrap();
    let x = run(&graph, &spec, &[0.4; 512]);
    assert!(
        x.data.iter().all(|value| value.abs() < 1e-2),
        "{:?}",
        x.data
    );
}

/// The share of position `at` in the window from `start` to `end`.
fn covered(at: usize, start: f64, end: f64) -> f64 {
    ((at as f64 + 1.0).min(end) - (at as f64).max(start)).max(0.0)
}

/// Histograms of an image of one channel at one scale, `[rows][columns][8]`, by loops over pixels.
fn histograms(grey: &[f32], [height, width]: [usize; 2], scale: usize) -> Vec<Vec<[f64; 8]>> {
    let (h, w) = (height.div_ceil(scale), width.div_ceil(scale));
    let mean = |row: usize, column: usize| {
        let rows = row * scale..((row + 1) * scale).min(height);
        let columns = column * scale..((column + 1) * scale).min(width);
        let count = (rows.len() * columns.len()) as f64;
        let pixels = rows.flat_map(|r| columns.clone().map(move |c| (r, c)));
        pixels
            .map(|(r, c)| f64::from(grey[r * width + c]))
            .sum::<f64>()
            / count
    };
    let mut votes = vec![vec![[0.0; 8]; w]; h];
    for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
        let inside = |at: usize, side: usize| at > 0 && at + 1 < side;
        let y = if inside(row, h) {
            (mean(row + 1, column) - mean(row - 1, column)) / 2.0
        } else {
            0.0
        };
        let x = if inside(column, w) {
            (mean(row, column + 1) - mean(row, column - 1)) / 2.0
        } else {
            0.0
        };
        // Orientation 0 is at -pi / 2, and neighbours share.
        let position = (y.atan2(x) + PI / 2.0).rem_euclid(PI) * 8.0 / PI;
        let share = position.fract();
        let first = position as usize;
        votes[row][column][first % 8] += (1.0 - share) * x.hypot(y);
        votes[row][column][(first + 1) % 8] += share * x.hypot(y);
    }
    let (rows, columns) = (height.div_ceil(8), width.div_ceil(8));
    let cell = |site: usize| {
        let centre = (site as f64 + 0.5) * 8.0 / scale as f64;
        (centre - 4.0, centre + 4.0)
    };
    let mut histograms = vec![vec![[0.0; 8]; columns]; rows];
    for (site_row, line) in histograms.iter_mut().enumerate() {
        for (site_column, histogram) in line.iter_mut().enumerate() {
            let (top, bottom) = cell(site_row);
            let (left, right) = cell(site_column);
            let mut total = 0.0;
            for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
                let part = covered(row, top, bottom) * covered(column, left, right);
                total += part;
                for (sum, vote) in histogram.iter_mut().zip(votes[row][column]) {
                    *sum += part * vote;
                }
            }
            histogram.iter_mut().for_each(|sum| *sum /= total);
        }
    }
    histograms
}

#[test]
fn orientations_are_normalised_histograms() {
    // The last row and column of cells are cut off by the image's end.
    for (channels, height, width) in [(1, 24, 20), (3, 17, 32)] {
        let spec = spec(channels, height, width);
        let kind = Orientations {
            scales: vec![1, 2, 4, 3],
            floor: 0.1,
        };
        let (images, x, grid) = features(&Representation::Orientations(kind), &spec);
        assert_eq!((grid.rows, grid.columns), (3, width.div_ceil(8)));
        let mut expected = Vec::new();
        for image in images.chunks(spec.pixels()) {
            let plane = spec.positions();
            let grey: Vec<f32> = match channels {
                1 => image.to_vec(),
                _ => (0..plane)
                    .map(|at| {
                        0.299 * image[at]
                            + 0.587 * image[plane + at]
                            + 0.114 * image[2 * plane + at]
                    })
                    .collect(),
            };
            let scales =
                [1, 2, 4, 3].map(|scale| (scale, histograms(&grey, [height, width], scale)));
            for row in 0..grid.rows {
                for column in 0..grid.columns {
                    for (scale, histograms) in &scales {
                        let near = |site: usize, at: usize| site.abs_diff(at) <= *scale;
                        let (mut energy, mut count) = (0.0, 0.0);
                        for (r, c) in
                            (0..grid.rows).flat_map(|r| (0..grid.columns).map(move |c| (r, c)))
                        {
                            if near(row, r) && near(column, c) {
                                energy += histograms[r][c].iter().map(|v| v * v).sum::<f64>();
                                count += 1.0;
                            }
                        }
                        let norm = (energy / count).sqrt().max(f64::from(0.1f32));
                        expected.extend(histograms[row][column].map(|v| (v / norm) as f32));
                    }
                }
            }
        }
        expect_close(&x.data, &expected, 1e-4);
    }
}

#[test]
fn an_image_without_contrast_has_no_orientation() {
    let spec = spec(1, 16, 16);
    let kind = Representation::Orientations(Orientations::default());
    let (graph, _) = features_graph(&kind, &spec).unwrap();
    let x = run(&graph, &spec, &vec![0.5; 2 * spec.pixels()]);
    assert!(x.data.iter().all(|value| *value == 0.0));
}

/// A network whose maps are its input through convolutions of 1 x 1: `fine` of a position each 2
/// pixels, `coarse` each 4, both of two channels.
fn network(height: usize, width: usize) -> Graph {
    let mut graph = Graph::new("user");
    let shape = [3, height, width].map(Dim::Fixed);
    let image = graph.input("input", &[Dim::Batch, shape[0], shape[1], shape[2]]);
    let weight = graph.weights("first", Tensor::new([2, 3, 1, 1], FIRST.to_vec()));
    let fine = graph
        .conv(&image, &weight, None, ConvGeometry::new(1, 2, 0))
        .unwrap();
    let weight = graph.weights("second", Tensor::new([2, 2, 1, 1], SECOND.to_vec()));
    let coarse = graph
        .conv(&fine, &weight, None, ConvGeometry::new(1, 2, 0))
        .unwrap();
    graph.output("fine", &fine).unwrap();
    graph.output("unused", &image).unwrap();
    graph.output("coarse", &coarse).unwrap();
    graph.simplify();
    graph
}

const FIRST: [f32; 6] = [0.5, -1.0, 2.0, 1.0, 0.25, -0.5];
const SECOND: [f32; 4] = [1.0, 0.5, -2.0, 1.0];

/// A map by row and column.
type Plane = Vec<Vec<f32>>;

/// Each position's mean with its neighbours.
fn smoothed(plane: &Plane) -> Plane {
    let mean = |row: usize, column: usize| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (_, line) in plane
            .iter()
            .enumerate()
            .filter(|(r, _)| r.abs_diff(row) < 2)
        {
            for (_, value) in line
                .iter()
                .enumerate()
                .filter(|(c, _)| c.abs_diff(column) < 2)
            {
                sum += value;
                count += 1.0;
            }
        }
        sum / count
    };
    let rows = 0..plane.len();
    rows.map(|row| {
        (0..plane[0].len())
            .map(|column| mean(row, column))
            .collect()
    })
    .collect()
}

/// A plane of twice the rows and columns.
fn doubled(plane: &Plane, [rows, columns]: [usize; 2]) -> Plane {
    let source = |at: usize, side: usize| {
        let position = ((at as f32 + 0.5) / 2.0 - 0.5).clamp(0.0, side as f32 - 1.0);
        let before = position as usize;
        (before, (before + 1).min(side - 1), position.fract())
    };
    let value = |row: usize, column: usize| {
        let (top, bottom, down) = source(row, plane.len());
        let (left, right, over) = source(column, plane[0].len());
        let line = |at: usize| plane[at][left] * (1.0 - over) + plane[at][right] * over;
        line(top) * (1.0 - down) + line(bottom) * down
    };
    (0..rows)
        .map(|row| (0..columns).map(|column| value(row, column)).collect())
        .collect()
}

#[test]
fn features_of_a_network_are_smoothed_and_joined() {
    let normalization = Normalization::IMAGENET;
    for (channels, border) in [(3, 0), (1, 0), (3, 4), (1, 8)] {
        let spec = spec(channels, 12, 16);
        let network = network(12 + 2 * border, 16 + 2 * border);
        let kind = Representation::Network(NetworkFeatures {
            network: &network,
            taps: ["coarse", "fine"].map(str::to_owned).to_vec(),
            border,
            normalization: Some(normalization),
        });
        let (images, x, grid) = features(&kind, &spec);
        assert_eq!((grid.rows, grid.columns, grid.values), (6, 8, 4));
        let mut expected = Vec::new();
        for image in images.chunks(spec.pixels()) {
            let input = |channel: usize, row: usize, column: usize| {
                let plane = if channels == 3 { channel } else { 0 };
                let value = image[(plane * 12 + row) * 16 + column];
                (value - normalization.mean[channel]) / normalization.std[channel]
            };
            let mix = |parts: &[f32], weights: &[f32]| {
                parts.iter().zip(weights).map(|(a, b)| a * b).sum::<f32>()
            };
            let at = |row: usize, column: usize, output: usize| {
                let rgb = [0, 1, 2].map(|channel| input(channel, 2 * row, 2 * column));
                mix(&rgb, &FIRST[3 * output..3 * output + 3])
            };
            let fine = [0, 1].map(|output| -> Plane {
                (0..6)
                    .map(|row| (0..8).map(|column| at(row, column, output)).collect())
                    .collect()
            });
            let coarse = [0, 1].map(|output| -> Plane {
                let at = |row: usize, column: usize| {
                    let parts = [0, 1].map(|part: usize| fine[part][2 * row][2 * column]);
                    mix(&parts, &SECOND[2 * output..2 * output + 2])
                };
                (0..3)
                    .map(|row| (0..4).map(|column| at(row, column)).collect())
                    .collect()
            });
            let coarse = coarse.map(|plane| doubled(&smoothed(&plane), [6, 8]));
            let fine = fine.map(|plane| smoothed(&plane));
            for (row, column) in (0..6).flat_map(|row| (0..8).map(move |column| (row, column))) {
                expected
                    .extend([&coarse[0], &coarse[1], &fine[0], &fine[1]].map(|p| p[row][column]));
            }
        }
        expect_close(&x.data, &expected, 1e-4);
    }
}

/// The network sees the reflected image beyond the border: a mean of 5 x 5 pixels around each other
/// pixel has no zeros in it.
#[test]
fn the_border_is_the_reflected_image() {
    let (spec, border) = (spec(3, 8, 6), 4);
    let mut network = Graph::new("user");
    let shape = [3, 8 + 2 * border, 6 + 2 * border].map(Dim::Fixed);
    let image = network.input("input", &[Dim::Batch, shape[0], shape[1], shape[2]]);
    let weights = vec![1.0 / 75.0; 75];
    let weight = network.weights("weight", Tensor::new([1, 3, 5, 5], weights));
    let geometry = ConvGeometry::new(5, 1, 2);
    let map = network.conv(&image, &weight, None, geometry).unwrap();
    network.output("map", &map).unwrap();
    let kind = Representation::Network(NetworkFeatures {
        network: &network,
        taps: vec!["map".to_owned()],
        border,
        normalization: None,
    });
    let (images, x, _) = features(&kind, &spec);
    let mut expected = Vec::new();
    for image in images.chunks(spec.pixels()) {
        let reflect = |at: i64, side: i64| {
            if at < 0 {
                -at
            } else if at >= side {
                2 * side - 2 - at
            } else {
                at
            }
        };
        let mean = |row: i64, column: i64| {
            let mut sum = 0.0;
            for (r, c) in (-2..3).flat_map(|r| (-2..3).map(move |c| (r, c))) {
                let at = reflect(row + r, 8) * 6 + reflect(column + c, 6);
                sum += (0..3)
                    .map(|channel| image[channel * 48 + at as usize])
                    .sum::<f32>();
            }
            sum / 75.0
        };
        let plane: Plane = (0..8)
            .map(|row| (0..6).map(|column| mean(row, column)).collect())
            .collect();
        expected.extend(smoothed(&plane).into_iter().flatten());
    }
    expect_close(&x.data, &expected, 1e-5);
}

#[test]
fn whitening_maps_every_site() {
    let spec = spec(1, 4, 4);
    let kind = Representation::Tiles { side: 2 };
    let (images, features, grid) = features(&kind, &spec);
    let whitening = Whitening {
        mean: Tensor::new([4], noise(4, 1)),
        basis: Tensor::new([4, 3], noise(12, 2)),
        residual: None,
    };
    let (graph, _) = features_graph(&kind, &spec).unwrap();
    let graph = append_whitening(&graph, &whitening).unwrap();
    let names = |values: &[lfbm_onnx::Value]| {
        values
            .iter()
            .map(|v| v.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(graph.inputs()), names(graph.outputs())),
        (vec!["image".to_owned()], vec!["x".to_owned()])
    );
    let x = run(&graph, &spec, &images);
    assert_eq!(x.shape, [2, grid.sites(), 3]);
    let mut expected = Vec::new();
    for site in features.data.chunks(4) {
        for value in 0..3 {
            let parts = (0..4)
                .map(|f| (site[f] - whitening.mean.data[f]) * whitening.basis.data[3 * f + value]);
            expected.push(parts.sum());
        }
    }
    expect_close(&x.data, &expected, 1e-5);
    let narrow = Whitening {
        mean: Tensor::new([3], vec![0.0; 3]),
        ..whitening
    };
    let refused = append_whitening(&graph, &narrow);
    assert!(refused.unwrap_err().to_string().contains("basis"));
}

/// The length of what two orthogonal directions leave out of a site; 0, not NaN, where they leave out nothing.
#[test]
fn a_residual_is_what_the_basis_leaves_out() {
    let spec = spec(1, 4, 4);
    let kind = Representation::Tiles { side: 2 };
    let (mut images, ..) = features(&kind, &spec);
    // A site along the first direction, through the mean.
    let of_site = [0, 1, 4, 5];
    for (at, value) in of_site.into_iter().zip([0.5, 0.5, 0.2, 0.2]) {
        images[at] = value;
    }
    let residual = Residual {
        unit: 4.0,
        mean: 0.1,
        scale: 3.0,
    };
    let directions = [[0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.8, -0.6]];
    let basis = (0..4).flat_map(|at| directions.map(|direction| direction[at] / residual.unit));
    // Of tiles in the value range [-1, 1].
    let mean = [-0.6, -0.8, -0.6, -0.6];
    let whitening = Whitening {
        mean: Tensor::new([4], mean.to_vec()),
        basis: Tensor::new([4, 2], basis.collect()),
        residual: Some(residual),
    };
    let (graph, grid) = features_graph(&kind, &spec).unwrap();
    let sites = run(&graph, &spec, &images);
    let graph = append_whitening(&graph, &whitening).unwrap();
    let x = run(&graph, &spec, &images);
    assert_eq!(x.shape, [2, grid.sites(), 3]);
    for (site, x) in sites.data.chunks(4).zip(x.data.chunks(3)) {
        let mut left: Vec<f32> = site.iter().zip(mean).map(|(f, mean)| f - mean).collect();
        for direction in directions {
            let along: f32 = left.iter().zip(direction).map(|(f, d)| f * d).sum();
            left.iter_mut()
                .zip(direction)
                .for_each(|(f, d)| *f -= along * d);
        }
        let length = left.iter().map(|f| f * f).sum::<f32>().sqrt();
        expect_close(&x[2..], &[(length - 0.1) * 3.0], 1e-3);
    }
    expect_close(&x.data[2..3], &[-0.3], 1e-3);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let image = spec(3, 12, 16);
    assert!(refusal(&Representation::Tiles { side: 5 }, &image).contains("divides both"));
    assert!(refusal(&Representation::Tiles { side: 0 }, &image).contains("divides both"));
    let orientations = |scales: &[usize], floor| {
        Representation::Orientations(Orientations {
            scales: scales.to_vec(),
            floor,
        })
    };
    assert!(refusal(&orientations(&[], 0.1), &image).contains("scales"));
    assert!(refusal(&orientations(&[0], 0.1), &image).contains("scales"));
    assert!(refusal(&orientations(&[1], f32::NAN), &image).contains("floor"));
    assert!(refusal(&orientations(&[1], 0.1), &spec(1, 0, 3)).contains("at least one pixel"));
    let contrast = Contrast::UnitNorm { norm: 1.0 };
    let normalised = ImageSpec { contrast, ..image };
    assert!(refusal(&orientations(&[1], 0.1), &normalised).contains("only tiles do"));

    let graph = network(12, 16);
    let features = |taps: &[&str], border, normalization| {
        Representation::Network(NetworkFeatures {
            network: &graph,
            taps: taps.iter().map(|&tap| tap.to_owned()).collect(),
            border,
            normalization,
        })
    };
    assert!(refusal(&features(&["deep"], 0, None), &image).contains("it has fine, unused, coarse"));
    assert!(refusal(&features(&[], 0, None), &image).contains("at least one name"));
    assert!(refusal(&features(&["fine"], 2, None), &image).contains("[B, 3, 16, 20]"));
    assert!(refusal(&features(&["fine"], 12, None), &image).contains("smaller one"));
    let std = [0.0, 1.0, 1.0];
    let normalization = Some(Normalization {
        mean: [0.0; 3],
        std,
    });
    assert!(
        refusal(&features(&["fine"], 0, normalization), &image).contains("positive deviations")
    );
    // Half a position of the coarse map.
    let smaller = spec(3, 8, 12);
    assert!(refusal(&features(&["coarse"], 2, None), &smaller).contains("choose a multiple of 4"));
}

#[test]
fn joined_representations_follow_one_another() {
    let of_image = |side: usize| spec(1, 8, side);
    let images = random_images(&of_image(12), 2, 3);
    // Pixels of 2 x 3 tiles, reduced to 3 values and to 2.
    let reduced = |values: usize| {
        let tiles = Representation::Tiles { side: 4 };
        let whitening = Whitening {
            mean: Tensor::new([16], vec![0.1; 16]),
            basis: Tensor::new([16, values], noise(16 * values, 5)),
            residual: None,
        };
        let (tiles, _) = features_graph(&tiles, &of_image(12)).unwrap();
        append_whitening(&tiles, &whitening).unwrap()
    };
    let parts = [reduced(3), reduced(2)];
    let joined = run(&joined_graph(&parts).unwrap(), &of_image(12), &images);
    assert_eq!(joined.shape, [2, 6, 5]);
    let [first, second] = parts
        .each_ref()
        .map(|part| run(part, &of_image(12), &images));
    let sites = first.data.chunks(3).zip(second.data.chunks(2));
    let expected: Vec<f32> = sites.flat_map(|(a, b)| [a, b].concat()).collect();
    assert_eq!(joined.data, expected);

    let hog = |side| {
        features_graph(&Representation::Hog, &of_image(side))
            .unwrap()
            .0
    };
    let of_other_sites = [reduced(3), hog(12)];
    let of_other_images = [hog(12), hog(16)];
    for parts in [&of_other_sites[..], &of_other_images[..], &[]] {
        assert!(joined_graph(parts).is_err());
    }
}

#[test]
fn weights_of_another_contrastive_network_are_refused() {
    let layer = |shape: [usize; 4]| LayerWeights {
        weight: Tensor::new(shape, vec![0.0; shape.iter().product()]),
        bias: Tensor::new([shape[0]], vec![0.0; shape[0]]),
    };
    let mut layers = Vec::new();
    let mut channels = 1;
    for spec in CONTRASTIVE_NETWORK {
        layers.push(layer([spec.channels, channels, spec.kernel, spec.kernel]));
        channels = spec.channels;
    }
    let (graph, grid) =
        features_graph(&Representation::Contrastive(&layers), &spec(1, 28, 28)).unwrap();
    assert_eq!((grid.sites(), grid.values), (1, channels * 4 * 4));
    assert_eq!(graph.outputs().len(), 1);

    let fewer = refusal(&Representation::Contrastive(&layers[1..]), &spec(1, 28, 28));
    assert!(fewer.contains("3 layers, expected 4"), "{fewer}");
    let colour = refusal(&Representation::Contrastive(&layers), &spec(3, 28, 28));
    assert!(
        colour.contains("layer 0 of the contrastive network"),
        "{colour}"
    );
}
