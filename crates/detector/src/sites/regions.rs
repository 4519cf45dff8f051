//! Connected parts of a map that lie above a threshold.

use std::ops::Range;

use super::grid::SiteGrid;

/// Regions of a map at most.
pub const MOST_REGIONS: usize = 64;

/// Neighbouring sites above a threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The rows that it lies in.
    pub rows: Range<usize>,
    /// The columns that it lies in.
    pub columns: Range<usize>,
    /// Number of its sites.
    pub sites: usize,
    /// Its largest value.
    pub peak: f32,
    /// The site with the largest value, the first of several.
    pub peak_site: usize,
}

/// The 8-connected regions of a map (S values) above `threshold`, the one with the highest peak first and
/// at most [`MOST_REGIONS`] of them. There are none in a map that is NaN, or not of the grid.
pub fn regions(map: &[f32], grid: SiteGrid, threshold: f64) -> Vec<Region> {
    if map.len() != grid.sites() {
        return Vec::new();
    }
    let mut waiting: Vec<bool> = map
        .iter()
        .map(|value| f64::from(*value) > threshold)
        .collect();
    let mut regions = Vec::new();
    for site in 0..map.len() {
        if waiting[site] {
            regions.push(region_at(site, map, grid, &mut waiting));
        }
    }
    // Stable: of equal peaks the one that comes first in the map.
    regions.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    regions.truncate(MOST_REGIONS);
    regions
}

/// The region of a waiting site, whose sites then wait no longer.
fn region_at(site: usize, map: &[f32], grid: SiteGrid, waiting: &mut [bool]) -> Region {
    let (row, column) = (site / grid.columns, site % grid.columns);
    let mut region = Region {
        rows: row..row + 1,
        columns: column..column + 1,
        sites: 0,
        peak: map[site],
        peak_site: site,
    };
    waiting[site] = false;
    let mut reached = vec![site];
    while let Some(site) = reached.pop() {
        let (row, column) = (site / grid.columns, site % grid.columns);
        region.rows = region.rows.start.min(row)..region.rows.end.max(row + 1);
        region.columns = region.columns.start.min(column)..region.columns.end.max(column + 1);
        region.sites += 1;
        let value = map[site];
        if value > region.peak || (value == region.peak && site < region.peak_site) {
            (region.peak, region.peak_site) = (value, site);
        }
        for row in row.saturating_sub(1)..(row + 2).min(grid.rows) {
            for column in column.saturating_sub(1)..(column + 2).min(grid.columns) {
                let neighbour = row * grid.columns + column;
                if std::mem::take(&mut waiting[neighbour]) {
                    reached.push(neighbour);
                }
            }
        }
    }
    region
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: SiteGrid = SiteGrid {
        rows: 4,
        columns: 6,
    };

    #[test]
    fn regions_by_hand() {
        #[rustfmt::skip]
        let map = [
            2.0, 0.0, 0.0, 0.0, 0.0, 9.0,
            0.0, 3.0, 0.0, 0.0, 0.0, 0.0,
            5.0, 0.0, 0.0, 0.0, 1.5, 0.0,
            0.0, 0.0, 0.0, 4.0, 4.0, 1.0,
        ];
        let found = regions(&map, GRID, 1.0);
        let region = |rows, columns, sites, peak, peak_site| Region {
            rows,
            columns,
            sites,
            peak,
            peak_site,
        };
        // The last column does not touch the first one of the next row.
        let expected = [
            region(0..1, 5..6, 1, 9.0, 5),
            region(0..3, 0..2, 3, 5.0, 12),
            region(2..4, 3..5, 3, 4.0, 21),
        ];
        assert_eq!(found, expected);
        assert_eq!(regions(&map, GRID, -1.0).len(), 1);
        assert_eq!(regions(&map, GRID, 9.0), []);
    }

    #[test]
    fn of_many_regions_the_highest_are_kept() {
        let grid = SiteGrid {
            rows: 1,
            columns: 200,
        };
        let map: Vec<f32> = (0..200).map(|site| (site % 2 * site) as f32).collect();
        let found = regions(&map, grid, 0.5);
        assert_eq!(found.len(), MOST_REGIONS);
        let peaks: Vec<usize> = found.iter().map(|region| region.peak_site).collect();
        let highest: Vec<usize> = (0..MOST_REGIONS).map(|index| 199 - 2 * index).collect();
        assert_eq!(peaks, highest);
    }

    #[test]
    fn maps_that_are_nan_or_of_another_grid_have_none() {
        assert_eq!(regions(&[f32::NAN; 24], GRID, 0.0), []);
        assert_eq!(regions(&[1.0; 23], GRID, 0.0), []);
        assert_eq!(
            regions(
                &[],
                SiteGrid {
                    rows: 0,
                    columns: 0
                },
                0.0
            ),
            []
        );
    }
}
