//! The normal images that an image is nearest to.

use lfbm_wire::{NearestBy, NearestNormal};
use serde_json::{Value, json};

/// A row of a table: the file, what is near, the distance, and where.
pub(crate) fn cells(nearest: &NearestNormal) -> [String; 4] {
    let at = nearest.at.map(|at| format!("{:.0}, {:.0}", at.x, at.y));
    [
        nearest.file.clone(),
        by(nearest).unwrap_or("-").to_owned(),
        format!("{:.3}", nearest.distance),
        at.unwrap_or_else(|| "-".to_owned()),
    ]
}

/// A JSON object.
pub(crate) fn json(nearest: &NearestNormal) -> Value {
    json!({
        "file": nearest.file,
        "by": by(nearest),
        "distance": nearest.distance,
        "at": nearest.at.map(|at| json!({ "x": at.x, "y": at.y })),
    })
}

fn by(nearest: &NearestNormal) -> Option<&'static str> {
    match nearest.by() {
        NearestBy::Unspecified => None,
        NearestBy::Site => Some("site"),
        NearestBy::Pixels => Some("pixels"),
        NearestBy::Edges => Some("edges"),
    }
}
