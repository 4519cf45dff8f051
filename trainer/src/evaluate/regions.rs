//! The connected regions of a mask.

/// The 8-connected regions of a mask of rows of `width` values, which are not 0 inside: the pixels of
/// each, by number.
pub fn regions(mask: &[u8], width: usize) -> Vec<Vec<usize>> {
    let mut is_left: Vec<bool> = mask.iter().map(|&value| value != 0).collect();
    let height = mask.len().checked_div(width).unwrap_or(0);
    let mut regions = Vec::new();
    for first in 0..width * height {
        if !std::mem::take(&mut is_left[first]) {
            continue;
        }
        let mut region = vec![first];
        let mut visited = 0;
        while let Some(&pixel) = region.get(visited) {
            visited += 1;
            let (row, column) = (pixel / width, pixel % width);
            for row in row.saturating_sub(1)..=(row + 1).min(height - 1) {
                for column in column.saturating_sub(1)..=(column + 1).min(width - 1) {
                    let neighbour = row * width + column;
                    if std::mem::take(&mut is_left[neighbour]) {
                        region.push(neighbour);
                    }
                }
            }
        }
        regions.push(region);
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rows: &[&str]) -> Vec<usize> {
        let mask: Vec<u8> = rows
            .iter()
            .flat_map(|row| row.bytes())
            .map(|byte| u8::from(byte == b'x'))
            .collect();
        let found = regions(&mask, rows[0].len());
        found.iter().map(Vec::len).collect()
    }

    #[test]
    fn diagonals_connect_and_borders_do_not() {
        assert_eq!(sizes(&["x..", ".x.", "x.x"]), [4]);
        // The end of a row is no neighbour of the next one's beginning.
        assert_eq!(sizes(&["..x", "x.."]), [1, 1]);
        assert_eq!(sizes(&["x.xx", "x..x", "..xx"]), [2, 5]);
        assert_eq!(sizes(&["x.x", "x.x", "xxx"]), [7]);
        assert_eq!(sizes(&["...", "..."]), [0; 0]);
    }

    #[test]
    fn nothing_has_no_regions() {
        assert!(regions(&[], 0).is_empty() && regions(&[], 4).is_empty());
    }
}
