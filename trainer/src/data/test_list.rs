//! Lists of the normal images that are for the test.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::inspection::{GOOD, Part};
use super::{DataError, Dataset};

/// No list has more bytes.
const MOST_BYTES: u64 = 64 << 20;
/// So many names are told.
const LISTED: usize = 3;

/// Makes the normal images that a list names test images, and all other normal ones images to fit. The
/// list has a name a line, of a file with or without its folder; what follows a `#` at a line's
/// beginning is a comment.
pub(super) fn apply(dataset: &mut Dataset, list: &Path) -> Result<(), DataError> {
    let bytes = File::open(list).and_then(|file| lfbm_images::read_from(file, MOST_BYTES));
    let bytes = bytes.map_err(DataError::io(list))?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| DataError::invalid(list, "expected names in UTF-8, one a line"))?;
    let normal: Vec<usize> = (0..dataset.len())
        .filter(|&index| dataset.class(index) == GOOD)
        .collect();
    let mut by_name = HashMap::<&str, Vec<usize>>::new();
    for &index in &normal {
        let file = dataset.files[index].as_str();
        by_name.entry(file).or_default().push(index);
        if let Some((_, name)) = file.rsplit_once('/') {
            by_name.entry(name).or_default().push(index);
        }
    }
    let (mut named, mut unknown) = (vec![false; dataset.len()], Vec::new());
    let lines = text.lines().map(str::trim);
    for name in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match by_name.get(name).map(Vec::as_slice) {
            Some([index]) => named[*index] = true,
            Some([one, other, ..]) => {
                let [one, other] = [one, other].map(|&index| &dataset.files[index]);
                let reason =
                    format!("{name} may be {one} or {other}; write names with their folders");
                return Err(DataError::invalid(list, reason));
            }
            _ => unknown.push(name),
        }
    }
    let reason = if !unknown.is_empty() {
        let told = unknown[..LISTED.min(unknown.len())].join(", ");
        format!(
            "{} of its names are of no normal image in train/{GOOD} or test/{GOOD}: {told}",
            unknown.len()
        )
    } else if !named.contains(&true) {
        "it names no image; expected the names of the normal test images, one a line".to_owned()
    } else if normal.iter().all(|&index| named[index]) {
        "it names all normal images, which leaves none to fit".to_owned()
    } else {
        for index in normal {
            let part = if named[index] { Part::Test } else { Part::Fit };
            dataset.inspected[index].part = part;
        }
        return Ok(());
    };
    Err(DataError::invalid(list, reason))
}
