//! Where an image is unusual, in pixels of the image as it was sent.

use std::ops::Range;

use lfbm_detector::sites::{Region, SiteGrid};
use lfbm_images::{Placement, Span};
use lfbm_wire as proto;

use crate::score::JudgedSites;

/// The map of an image's sites.
pub(super) fn anomaly_map(sites: &JudgedSites, placement: &Placement) -> proto::AnomalyMap {
    let SiteGrid { rows, columns } = sites.grid;
    let [across, down] = axes(sites.grid, placement);
    let [x, y] = [(&across, columns), (&down, rows)].map(|(axis, cells)| axis.cells(&(0..cells)));
    proto::AnomalyMap {
        rows: rows as u32,
        columns: columns as u32,
        values: sites.map.clone(),
        threshold: sites.threshold,
        bounds: Some(rectangle(x, y)),
    }
}

/// The regions of an image's map.
pub(super) fn regions(sites: &JudgedSites, placement: &Placement) -> Vec<proto::Region> {
    let [across, down] = axes(sites.grid, placement);
    let region = |(region, p_value): &(Region, f64)| {
        let (x, y) = (across.within(&region.columns), down.within(&region.rows));
        let cell = across.cell() * down.cell();
        proto::Region {
            // Sites may lie beyond the image, where it was padded.
            area: (region.sites as f64 * cell).min((x.end - x.start) * (y.end - y.start)),
            bounds: Some(rectangle(x, y)),
            peak: region.peak.into(),
            peak_p_value: *p_value,
            peak_at: Some(middle(sites.grid, region.peak_site, placement)),
        }
    };
    sites.regions.iter().map(region).collect()
}

/// The middle of a site.
pub(super) fn middle(grid: SiteGrid, site: usize, placement: &Placement) -> proto::Point {
    let [across, down] = axes(grid, placement);
    proto::Point {
        x: across.middle(site % grid.columns),
        y: down.middle(site / grid.columns),
    }
}

fn axes(grid: SiteGrid, placement: &Placement) -> [Axis; 2] {
    let (source, model) = (placement.source(), placement.model());
    [
        Axis::new(placement.x, source.width, grid.columns, model.width),
        Axis::new(placement.y, source.height, grid.rows, model.height),
    ]
}

fn rectangle(x: Range<f64>, y: Range<f64>) -> proto::Rectangle {
    proto::Rectangle {
        x: x.start,
        y: y.start,
        width: x.end - x.start,
        height: y.end - y.start,
    }
}

/// The cells of a grid along an axis of the image as it was sent.
struct Axis {
    span: Span,
    /// Pixels of the image as it was sent.
    length: f64,
    /// Pixels of the model for a cell.
    cell: f64,
}

impl Axis {
    fn new(span: Span, length: u32, cells: usize, model: u32) -> Self {
        Self {
            span,
            length: length.into(),
            cell: f64::from(model) / cells as f64,
        }
    }

    /// The side of a cell.
    fn cell(&self) -> f64 {
        self.cell * self.span.scale()
    }

    /// Where cells lie.
    fn cells(&self, cells: &Range<usize>) -> Range<f64> {
        let at = |cell: usize| self.span.to_source(cell as f64 * self.cell);
        at(cells.start)..at(cells.end)
    }

    /// What cells cover of the image; the pixel next to them where they lie in its border.
    fn within(&self, cells: &Range<usize>) -> Range<f64> {
        let Range { start, end } = self.cells(cells);
        let (start, end) = (start.max(0.0), end.min(self.length));
        if start < end {
            return start..end;
        }
        let start = start.min(self.length - 1.0);
        start..start + 1.0
    }

    /// The middle of a cell, or the point of the image next to it.
    fn middle(&self, cell: usize) -> f64 {
        let middle = self.span.to_source((cell as f64 + 0.5) * self.cell);
        middle.clamp(0.0, self.length)
    }
}

#[cfg(test)]
mod tests {
    use lfbm_images::{Fit, Intake, Size};

    use super::*;
    use crate::score::Ranked;

    const GRID: SiteGrid = SiteGrid {
        rows: 4,
        columns: 4,
    };

    fn sites(rows: Range<usize>, columns: Range<usize>, count: usize) -> JudgedSites {
        let region = Region {
            peak_site: rows.start * GRID.columns + columns.start,
            rows,
            columns,
            sites: count,
            peak: 5.0,
        };
        JudgedSites {
            ranked: Ranked {
                score: 5.0,
                p_value: 0.1,
            },
            grid: GRID,
            map: vec![0.0; 16],
            threshold: 2.0,
            regions: vec![(region, 0.05)],
        }
    }

    /// Of an image of 200 x 100 pixels for a model of 32 x 32.
    fn placement(fit: Fit) -> Placement {
        let intake = Intake { crop: None, fit };
        let size = |width, height| Size { width, height };
        intake.placement(size(200, 100), size(32, 32)).unwrap()
    }

    fn bounds(rectangle: Option<proto::Rectangle>) -> [f64; 4] {
        let proto::Rectangle {
            x,
            y,
            width,
            height,
        } = rectangle.unwrap();
        [x, y, width, height]
    }

    #[test]
    fn a_stretched_image_is_covered_by_its_cells() {
        let placement = placement(Fit::Stretch);
        let sites = sites(1..3, 2..4, 3);
        let map = anomaly_map(&sites, &placement);
        assert_eq!(bounds(map.bounds), [0.0, 0.0, 200.0, 100.0]);
        let [region] = &regions(&sites, &placement)[..] else {
            panic!("expected a region");
        };
        assert_eq!(bounds(region.bounds), [100.0, 25.0, 100.0, 50.0]);
        assert_eq!(region.area, 3.0 * 50.0 * 25.0);
        let peak = region.peak_at.unwrap();
        assert_eq!((peak.x, peak.y), (125.0, 37.5));
    }

    #[test]
    fn what_was_cut_off_is_in_no_cell() {
        let placement = placement(Fit::Crop);
        let map = anomaly_map(&sites(0..1, 0..1, 1), &placement);
        assert_eq!(bounds(map.bounds), [50.0, 0.0, 100.0, 100.0]);
        let region = &regions(&sites(0..1, 0..1, 1), &placement)[0];
        assert_eq!(bounds(region.bounds), [50.0, 0.0, 25.0, 25.0]);
    }

    #[test]
    fn regions_end_where_the_image_does() {
        let placement = placement(Fit::Pad);
        let map = anomaly_map(&sites(0..1, 0..1, 1), &placement);
        assert_eq!(bounds(map.bounds), [0.0, -50.0, 200.0, 200.0]);
        let region = &regions(&sites(0..3, 0..1, 3), &placement)[0];
        assert_eq!(bounds(region.bounds), [0.0, 0.0, 50.0, 100.0]);
        assert_eq!(region.area, 50.0 * 100.0);
        // In the border alone.
        for (row, y) in [(0, 0.0), (3, 99.0)] {
            let region = &regions(&sites(row..row + 1, 0..1, 1), &placement)[0];
            assert_eq!(bounds(region.bounds), [0.0, y, 50.0, 1.0]);
            let peak = region.peak_at.unwrap();
            assert!((0.0..=100.0).contains(&peak.y));
        }
    }
}
