//! Loads and unloads models on request.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::call::Call;
use super::{ControlError, ServiceError};
use crate::models::{LoadRefused, Models};
use crate::request::{Violation, cut};
use crate::shutdown::Stop;

/// Names of models are shorter.
const MAX_NAME_BYTES: usize = 1024;
/// What Triton's clients send with a request to unload.
const UNLOAD_DEPENDENTS: &str = "unload_dependents";

/// What is to be done with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// To serve it.
    Load,
    /// Not to serve it any more.
    Unload,
}

/// A request to change what is served.
pub(crate) struct Wanted {
    /// What is to be done.
    pub(crate) change: Change,
    /// With which model.
    pub(crate) model: String,
    /// Names of the request's parameters, and whether each has a bool.
    pub(crate) parameters: Vec<(String, bool)>,
}

/// Loads and unloads models on request, one at a time.
pub struct Control {
    models: Arc<Models>,
    stop: Stop,
    turn: Arc<Mutex<()>>,
}

impl Control {
    /// Of these models, until the server stops.
    pub fn new(models: Arc<Models>, stop: Stop) -> Self {
        Self {
            models,
            stop,
            turn: Arc::default(),
        }
    }

    /// Does what a request of an admin wants; returns when it is done. What has begun goes on if the call
    /// does not wait for it.
    pub(crate) async fn change(&self, call: &Call, wanted: Wanted) -> Result<(), ServiceError> {
        wanted.check().map_err(ServiceError::Invalid)?;
        let Wanted { change, model, .. } = wanted;
        let turn = Arc::clone(&self.turn).try_lock_owned();
        let turn = turn.map_err(|_| ControlError::Busy)?;
        let admin = call.caller().sender.label.as_deref();
        tracing::info!(?change, model, admin, "on request");
        let (models, stop) = (Arc::clone(&self.models), self.stop.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            match change {
                Change::Load => models.load_named(&model, &stop),
                Change::Unload => models.unload(&model).map_err(LoadRefused::from),
            }
        });
        let done = call.in_time(done).await?;
        match done.map_err(|_| ServiceError::Panicked)? {
            Ok(()) => Ok(()),
            Err(LoadRefused::Unknown(unknown)) => Err(unknown.into()),
            Err(LoadRefused::Bundle(reason)) => Err(ControlError::Refused(reason).into()),
        }
    }
}

impl Wanted {
    /// What is wrong with it. Names are compared with those of models and never with what is on disk; one
    /// that is a path or an address is told so.
    fn check(&self) -> Result<(), Vec<Violation>> {
        let mut violations = Vec::new();
        let name = &self.model;
        let is_name = (1..=MAX_NAME_BYTES).contains(&name.len())
            && !name.contains(|c: char| "/\\".contains(c) || c.is_control());
        if !is_name {
            let description = format!(
                "expected the name of a model, which is no path and no address, got {:?}",
                cut(name)
            );
            violations.push(Violation::new("model_name", description));
        }
        for (parameter, is_bool) in &self.parameters {
            if self.change == Change::Unload && parameter == UNLOAD_DEPENDENTS && *is_bool {
                continue;
            }
            let expected = match self.change {
                Change::Load => "none: a model is what its bundle on the server's disk says",
                Change::Unload => "none but unload_dependents, true or false",
            };
            let description = format!("expected {expected}, got {:?}", cut(parameter));
            violations.push(Violation::new("parameters", description));
        }
        match violations.is_empty() {
            true => Ok(()),
            false => Err(violations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_addresses_and_configurations_are_refused() {
        let check = |change, model: &str, parameters: &[(&str, bool)]| {
            let parameters = parameters.iter();
            let wanted = Wanted {
                change,
                model: model.to_owned(),
                parameters: parameters
                    .map(|(name, flag)| ((*name).to_owned(), *flag))
                    .collect(),
            };
            let violations = wanted.check().err().unwrap_or_default();
            violations
                .iter()
                .map(|violation| violation.field)
                .collect::<Vec<_>>()
        };
        use Change::{Load, Unload};
        for change in [Load, Unload] {
            assert!(check(change, "mnist-not4 v2.1", &[]).is_empty());
            let long = "a".repeat(MAX_NAME_BYTES + 1);
            for name in ["", "/etc", "../a", "a\\b", "s3://a", "a\nb", &long] {
                assert_eq!(check(change, name, &[]), ["model_name"], "{name:?}");
            }
            for name in ["config", "file:1/model.onnx"] {
                assert_eq!(check(change, "a", &[(name, false)]), ["parameters"]);
            }
        }
        assert!(check(Unload, "a", &[(UNLOAD_DEPENDENTS, true)]).is_empty());
        assert_eq!(
            check(Unload, "a", &[(UNLOAD_DEPENDENTS, false)]),
            ["parameters"]
        );
        assert_eq!(
            check(Load, "a", &[(UNLOAD_DEPENDENTS, true)]),
            ["parameters"]
        );
    }
}
