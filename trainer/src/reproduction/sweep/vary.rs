//! Settings that a sweep varies.

use serde::Deserialize;

use super::Measure;

/// A curve of a measure over one setting, or one curve for each value of another.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vary {
    /// Names its files and its picture.
    pub name: String,
    /// Settings that all of its fits share.
    #[serde(default)]
    pub settings: Vec<String>,
    /// The setting along a curve.
    pub along: Axis,
    /// The setting that differs between curves.
    pub by: Option<Axis>,
    /// What is drawn, a picture each.
    #[serde(default = "measures")]
    pub measures: Vec<Measure>,
}

fn measures() -> Vec<Measure> {
    vec![Measure::Auprc]
}

/// A setting and its values.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// As in `section.key`.
    pub setting: String,
    /// In their order.
    pub values: Vec<toml::Value>,
}

/// Fits that differ in the value of one setting.
pub struct Curve {
    /// The value of the other setting that all share, as `section.key = value`.
    pub name: Option<String>,
    /// The names of their settings and the settings, value by value.
    pub settings: Vec<(String, Vec<String>)>,
}

impl Vary {
    /// The file of a picture: that of AUPRC has the name alone.
    pub fn picture(&self, measure: Measure) -> String {
        match measure {
            Measure::Auprc => format!("{}.svg", self.name),
            _ => format!("{}-{measure}.svg", self.name),
        }
    }

    /// Every fit.
    pub fn curves(&self) -> Vec<Curve> {
        match &self.by {
            None => vec![self.curve(None)],
            Some(by) => (by.values.iter())
                .map(|value| self.curve(Some((&by.setting, value))))
                .collect(),
        }
    }

    fn curve(&self, by: Option<(&String, &toml::Value)>) -> Curve {
        let of_curve = by.map(|(setting, value)| format!("{setting}={value}"));
        let settings = self.along.values.iter().map(|along| {
            let name = match by {
                None => format!("{}-{}", self.name, text(along)),
                Some((_, by)) => format!("{}-{}-{}", self.name, text(along), text(by)),
            };
            let mut changes = self.settings.clone();
            changes.push(format!("{}={along}", self.along.setting));
            changes.extend(of_curve.clone());
            (name, changes)
        });
        Curve {
            name: by.map(|(setting, value)| format!("{setting} = {}", text(value))),
            settings: settings.collect(),
        }
    }
}

/// The value without the quotes of a string.
pub(super) fn text(value: &toml::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
