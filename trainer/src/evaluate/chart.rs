//! Curves and histogram as SVG.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::metrics::Curves;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const NORMAL: RGBColor = RGBColor(38, 110, 182);
const ANOMALOUS: RGBColor = RGBColor(214, 79, 44);
const BASELINE: RGBColor = RGBColor(130, 130, 130);
const BINS: usize = 60;
const POINTS: usize = 1000;
const FONT: &str = "sans-serif";

/// The scores of test images, of which a histogram is drawn.
pub struct TestScores {
    /// What they are.
    pub title: &'static str,
    /// One of each image.
    pub values: Vec<f64>,
    /// The score that the verdict begins at.
    pub threshold: f64,
    /// Whether anomalies are above it, else below.
    pub is_high_anomalous: bool,
}

/// Draws `curves.svg` (of three scores at most, by name; none without scores) and `histogram.svg` (of the score that
/// makes the verdict) into `dir`.
///
/// # Errors
/// When a file cannot be written.
pub fn draw_charts(
    dir: &Path,
    scores: &[(&str, Curves)],
    deciding: &TestScores,
    anomalous: &[bool],
) -> anyhow::Result<()> {
    let draw_curves = || -> DrawResult {
        let path = dir.join("curves.svg");
        let root = SVGBackend::new(&path, (1000, 480)).into_drawing_area();
        root.fill(&WHITE)?;
        let (left, right) = root.split_horizontally(500);
        let series = |pick: for<'a> fn(&'a Curves) -> &'a [(f64, f64)]| {
            scores
                .iter()
                .zip([NORMAL, ANOMALOUS, BASELINE])
                .map(|((name, curves), color)| (*name, color, pick(curves)))
                .collect::<Vec<_>>()
        };
        curve(
            &left,
            ["Precision and recall", "recall", "precision"],
            series(|curves| &curves.precision_recall),
        )?;
        curve(
            &right,
            [
                "Receiver operating characteristic",
                "false-positive rate",
                "true-positive rate",
            ],
            series(|curves| &curves.roc),
        )?;
        root.present()?;
        Ok(())
    };
    let draw = || -> DrawResult {
        if !scores.is_empty() {
            draw_curves()?;
        }
        histogram(&dir.join("histogram.svg"), deciding, anomalous)
    };
    draw().map_err(|error| anyhow::anyhow!("{}: {error}", dir.display()))
}

fn curve(
    area: &Area<'_>,
    labels: [&str; 3],
    series: Vec<(&str, RGBColor, &[(f64, f64)])>,
) -> DrawResult {
    let [title, x, y] = labels;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(54)
        .build_cartesian_2d(0.0..1.0, 0.0..1.02)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(x)
        .y_desc(y)
        .label_style((FONT, 14))
        .draw()?;
    for (name, color, points) in series {
        chart
            .draw_series(LineSeries::new(thinned(points), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BASELINE)
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}

/// More points than pixels make a large file and no better picture.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.last().copied();
    points.iter().copied().step_by(every).chain(last)
}

fn histogram(path: &Path, scores: &TestScores, anomalous: &[bool]) -> DrawResult {
    let TestScores {
        title,
        values,
        threshold,
        is_high_anomalous,
    } = scores;
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    // A few outliers would squeeze the rest.
    let at = |share: f64| {
        let index = (share * sorted.len().saturating_sub(1) as f64) as usize;
        sorted.get(index).copied().unwrap_or(0.0)
    };
    let (low, high) = if *is_high_anomalous {
        (at(0.0), at(0.995) + 1e-6)
    } else {
        (at(0.005), at(1.0) + 1e-6)
    };
    let width = (high - low) / BINS as f64;
    let share = |of: bool| -> Vec<f64> {
        let mut bins = vec![0.0; BINS];
        let mut total = 0.0_f64;
        for (value, _) in values
            .iter()
            .zip(anomalous)
            .filter(|(_, anomaly)| **anomaly == of)
        {
            total += 1.0;
            let bin = ((value - low) / width).max(0.0) as usize;
            bins[bin.min(BINS - 1)] += 1.0;
        }
        bins.iter().map(|count| count / total.max(1.0)).collect()
    };
    let kinds = [
        ("normal", NORMAL, share(false)),
        ("anomalous", ANOMALOUS, share(true)),
    ];
    let top = kinds
        .iter()
        .flat_map(|(_, _, bins)| bins)
        .fold(0.0_f64, |top, &bin| top.max(bin));
    let root = SVGBackend::new(path, (900, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let range: Range<f64> = low..high;
    let mut chart = ChartBuilder::on(&root)
        .caption("Scores of the test images", (FONT, 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(range, 0.0..top * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(*title)
        .y_desc("share of images")
        .label_style((FONT, 14))
        .draw()?;
    for (name, color, bins) in kinds {
        chart
            .draw_series(bins.iter().enumerate().map(|(bin, &share)| {
                let left = low + bin as f64 * width;
                Rectangle::new(
                    [(left, 0.0), (left + width, share)],
                    color.mix(0.5).filled(),
                )
            }))?
            .label(name)
            .legend(move |(x, y)| {
                Rectangle::new([(x, y - 6), (x + 16, y + 6)], color.mix(0.5).filled())
            });
    }
    if threshold.is_finite() {
        chart
            .draw_series(LineSeries::new(
                [(*threshold, 0.0), (*threshold, top)],
                BLACK.stroke_width(1),
            ))?
            .label("threshold")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLACK));
    }
    chart
        .configure_series_labels()
        .position(if *is_high_anomalous {
            SeriesLabelPosition::UpperRight
        } else {
            SeriesLabelPosition::UpperLeft
        })
        .background_style(WHITE)
        .border_style(BASELINE)
        .label_font((FONT, 14))
        .draw()?;
    root.present()?;
    Ok(())
}
