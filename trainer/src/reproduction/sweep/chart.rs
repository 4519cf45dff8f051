//! Curves of a measure over a setting.

use std::path::Path;

use plotters::prelude::*;

use super::vary::text;
use super::{CellResult, Curve, Measure, Sweep, Vary};

const FONT: &str = "sans-serif";
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Colours of curves, which people who see few colours tell apart too (Okabe and Ito).
const COLORS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];

/// Draws a measure over the values of `vary` as SVG: the mean over seeds and held-out classes of the available
/// `results`, a curve for each value of its `by`.
///
/// # Errors
/// When the file cannot be written.
pub fn draw_vary(
    path: &Path,
    sweep: &Sweep,
    vary: &Vary,
    measure: Measure,
    results: &[CellResult],
) -> anyhow::Result<()> {
    let curves: Vec<_> = (vary.curves().into_iter())
        .map(|curve| (points(&curve, measure, results), curve.name))
        .collect();
    let values = curves
        .iter()
        .flat_map(|(points, _)| points)
        .map(|(_, value)| *value);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return Ok(());
    }
    // Where the curves do not end.
    let ends = curves.iter().filter_map(|(points, _)| points.last());
    let above = ends.filter(|(_, end)| *end > (low + high) / 2.0).count();
    let legend = if 2 * above >= curves.len() {
        SeriesLabelPosition::LowerRight
    } else {
        SeriesLabelPosition::UpperRight
    };
    // A difference that is small beside the values is drawn small.
    let margin = (0.05 * high.abs()).max((high - low) * 0.2);
    let last = vary.along.values.len() as f64 - 1.0;
    let draw = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let root = SVGBackend::new(path, (560, 400)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&vary.name, (FONT, 20))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(-0.3..last + 0.3, low - margin..high + margin)?;
        let label = |at: &f64| {
            let value = vary.along.values.get(at.round() as usize);
            let on_value = (at - at.round()).abs() < 1e-6;
            value.filter(|_| on_value).map_or_else(String::new, text)
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .bold_line_style(GRID)
            .x_labels(vary.along.values.len() + 2)
            .x_label_formatter(&label)
            .x_desc(&vary.along.setting)
            .y_desc(format!(
                "{} without {}",
                measure.title(),
                sweep.holdouts.join(", ")
            ))
            .label_style((FONT, 14))
            .draw()?;
        for (index, (points, name)) in curves.iter().enumerate() {
            let color = COLORS[index % COLORS.len()];
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(4);
            let series = chart.draw_series(line)?;
            if let Some(name) = name {
                series.label(name).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
            }
        }
        if vary.by.is_some() {
            chart
                .configure_series_labels()
                .position(legend)
                .background_style(WHITE.mix(0.8))
                .border_style(GRID)
                .label_font((FONT, 14))
                .draw()?;
        }
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// The points of a curve that have results: which value, and the mean of the measure.
fn points(curve: &Curve, measure: Measure, results: &[CellResult]) -> Vec<(f64, f64)> {
    let mean = |settings: &str| {
        let cells = results.iter().filter(|result| result.settings == settings);
        let values: Vec<f64> = cells.filter_map(|cell| cell.value(measure)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let means = curve.settings.iter().map(|(name, _)| mean(name));
    let placed = means.enumerate();
    placed
        .filter_map(|(position, mean)| Some((position as f64, mean?)))
        .collect()
}
