//! What `grpc.health.v1` says.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::models::Catalog;

/// The services that answer as long as there is a model; the empty name is the whole server.
const SERVICES: [&str; 3] = [
    "",
    "lfbm.v1.AnomalyDetector",
    "inference.GRPCInferenceService",
];

/// The health of the server's services, and of every model under `lfbm.v1.Model/NAME`.
pub struct Health {
    reporter: HealthReporter,
    models: BTreeSet<String>,
}

impl Health {
    /// Reports nothing yet.
    pub fn new(reporter: HealthReporter) -> Self {
        Self {
            reporter,
            models: BTreeSet::new(),
        }
    }

    /// Reports every change of the models.
    pub async fn follow(&mut self, mut catalogs: watch::Receiver<Arc<Catalog>>) -> Infallible {
        loop {
            let catalog = Arc::clone(&catalogs.borrow_and_update());
            self.report(&catalog).await;
            if catalogs.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reports the models of now.
    pub async fn report(&mut self, catalog: &Catalog) {
        let models: BTreeSet<_> = catalog.names().map(model_service).collect();
        for gone in self.models.difference(&models) {
            // A watcher of a model that is gone shall know it.
            self.set(gone, ServingStatus::NotServing).await;
            self.clear_one(gone).await;
        }
        let status = if catalog.is_empty() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        };
        for service in SERVICES {
            self.set(service, status).await;
        }
        for model in &models {
            self.set(model, ServingStatus::Serving).await;
        }
        self.models = models;
    }

    /// Reports that nothing is served any more.
    pub async fn stop(&mut self) {
        for name in self.names() {
            self.set(&name, ServingStatus::NotServing).await;
        }
    }

    /// Ends the streams that watch, which would hold their connections open.
    pub async fn clear(&mut self) {
        for name in self.names() {
            self.clear_one(&name).await;
        }
    }

    fn names(&self) -> Vec<String> {
        let services = SERVICES.iter().map(|name| (*name).to_owned());
        services.chain(self.models.iter().cloned()).collect()
    }

    async fn set(&self, name: &str, status: ServingStatus) {
        self.reporter.set_service_status(name, status).await;
    }

    async fn clear_one(&self, name: &str) {
        self.reporter.clone().clear_service_status(name).await;
    }
}

fn model_service(name: &str) -> String {
    format!("lfbm.v1.Model/{name}")
}
