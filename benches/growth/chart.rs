//! The picture: a row of time and a row of memory, a column for each kind.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::{Growth, Series};

const FONT: &str = "sans-serif";
const POINT: RGBColor = RGBColor(38, 110, 182);
const LINE: RGBColor = RGBColor(130, 130, 130);
const PANEL: (u32, u32) = (250, 220);

pub fn draw(path: &Path, all: &[Growth]) -> Result<(), Box<dyn Error>> {
    let columns = all.len();
    let size = (PANEL.0 * columns as u32, 2 * PANEL.1);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((2, columns));
    for (column, growth) in all.iter().enumerate() {
        let time = format!("CPU ms {}", growth.time_of);
        panel(&panels[column], growth.kind, &time, &growth.time)?;
        panel(
            &panels[columns + column],
            growth.kind,
            "MiB",
            &growth.memory,
        )?;
    }
    root.present()?;
    Ok(())
}

fn panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    amount: &str,
    cost: &str,
    series: &Series,
) -> Result<(), Box<dyn Error>>
where
    DB::ErrorType: 'static,
{
    let most = |pick: fn(&(f64, f64)) -> f64| series.points.iter().map(pick).fold(0.0, f64::max);
    let (end, top) = (1.05 * most(|point| point.0), 1.15 * most(|point| point.1));
    let title = format!("{cost}, within {:.1} %", 100.0 * series.deviation());
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 14))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(amount)
        .x_labels(4)
        .y_labels(5)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .label_style((FONT, 12))
        .draw()?;
    let line = [0.0, end].map(|amount| (amount, series.at(amount)));
    chart.draw_series(LineSeries::new(line, LINE.stroke_width(1)))?;
    let points = series.points.iter();
    chart.draw_series(points.map(|point| Circle::new(*point, 3, POINT.filled())))?;
    Ok(())
}
