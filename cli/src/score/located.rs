//! Where an image is unusual, as JSON and in words.

use lfbm_wire::{AnomalyMap, Rectangle, Region, ScoreResponse};
use serde_json::{Value, json};

/// The regions of a reply.
pub(super) fn regions(reply: &ScoreResponse) -> Vec<Value> {
    let region = |region: &Region| {
        let peak_at = region.peak_at.unwrap_or_default();
        json!({
            "bounds": rectangle(region.bounds),
            "area": region.area,
            "peak": region.peak,
            "peak_p_value": region.peak_p_value,
            "peak_at": { "x": peak_at.x, "y": peak_at.y },
        })
    };
    reply.regions.iter().map(region).collect()
}

/// A map.
pub(super) fn map(map: &AnomalyMap) -> Value {
    json!({
        "rows": map.rows,
        "columns": map.columns,
        "values": map.values,
        "threshold": map.threshold,
        "bounds": rectangle(map.bounds),
    })
}

fn rectangle(rectangle: Option<Rectangle>) -> Value {
    let Rectangle {
        x,
        y,
        width,
        height,
    } = rectangle.unwrap_or_default();
    json!({ "x": x, "y": y, "width": width, "height": height })
}

/// A region in a table: its left upper corner, size, area, peak, and the p-value of that.
pub(crate) fn describe(region: &Region) -> [String; 5] {
    let Rectangle {
        x,
        y,
        width,
        height,
    } = region.bounds.unwrap_or_default();
    [
        format!("{x:.0}, {y:.0}"),
        format!("{width:.0} x {height:.0}"),
        format!("{:.0}", region.area),
        format!("{:.2}", region.peak),
        format!("{:.4}", region.peak_p_value),
    ]
}
