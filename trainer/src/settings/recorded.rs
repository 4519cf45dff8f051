//! Settings that runs have recorded.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Map, Value};

use super::Settings;

/// Reads the settings of a run: those of its checkpoint or its bundle. What is `learning.encoder`
/// now was in `learning.vae` once, as `encoder_width`, `encoder_learning_rate` and
/// `encoder_max_gradient_norm`; there could be more noise-free steps than steps, which meant all.
///
/// # Errors
/// When they are not settings of a fit.
pub fn recorded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Settings, D::Error> {
    let mut settings = Value::deserialize(deserializer)?;
    if let Some(learning) = settings.get_mut("learning").and_then(Value::as_object_mut)
        && let Some(vae) = learning.get_mut("vae").and_then(Value::as_object_mut)
    {
        let encoder: Map<_, _> = ["width", "learning_rate", "max_gradient_norm"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), vae.remove(&format!("encoder_{name}"))?)))
            .collect();
        if !encoder.is_empty() {
            learning.insert("encoder".to_owned(), encoder.into());
        }
    }
    let mut settings = Settings::deserialize(settings).map_err(D::Error::custom)?;
    settings.inference = settings.inference.normalized();
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_run_records_is_read() {
        let changes = ["learning.encoder.width=8", "learning.vae.iaf_steps=2"].map(str::to_owned);
        let settings = Settings::load(None, &changes).unwrap();
        let now = serde_json::to_value(&settings).unwrap();
        let mut before = now.clone();
        before["learning"]
            .as_object_mut()
            .unwrap()
            .remove("encoder");
        before["learning"]["vae"] = json!({
            "encoder_width": 8, "encoder_learning_rate": 1e-3, "encoder_max_gradient_norm": 100.0,
            "context": 32, "iaf_steps": 2, "iaf_hidden": 64, "updates_per_iteration": 1,
        });
        for value in [now, before] {
            assert_eq!(recorded(value).unwrap(), settings);
        }
    }

    #[test]
    fn what_the_shipped_model_was_fitted_with_is_read() {
        let manifest = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../models/mnist-not4/manifest.json"
        );
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let settings = recorded(manifest["training"]["settings"].clone()).unwrap();
        assert_eq!(settings.learning.encoder.width, 16);
    }
}
