//! `lfbm health`.

use anyhow::ensure;
use clap::Args;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::connection::Connector;
use crate::output::print_line;
use crate::status::failure;

const HELP: &str = "\
Examples:
  lfbm health --model parts && lfbm score --model parts parts/
  docker exec lfbm lfbm health

Without --server and LFBM_SERVER it asks the server of this machine, as that one's settings in the
environment (LFBM_GRPC_ADDRESS, LFBM_TLS_CERT, ...) and in the file of LFBM_CONFIG describe it: over
TLS, the certificate must be the one of LFBM_TLS_CERT, or fit --tls-ca and --tls-server-name.";

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct HealthArgs {
    /// A model; the whole server when absent
    #[arg(long)]
    model: Option<String>,
}

pub(crate) async fn run(connector: &Connector, args: &HealthArgs) -> anyhow::Result<()> {
    let model = args.model.as_ref();
    let service = model.map(|model| format!("lfbm.v1.Model/{model}"));
    let request = HealthCheckRequest {
        service: service.unwrap_or_default(),
    };
    let reply = connector.health().await?.check(request).await;
    let reply = reply.map_err(|status| match model {
        // The server speaks of a service.
        Some(model) if status.code() == Code::NotFound => Status::with_metadata(
            Code::NotFound,
            format!("there is no model {model}; `lfbm models` lists those that there are"),
            status.metadata().clone(),
        ),
        _ => status,
    });
    let status = reply.map_err(failure)?.into_inner().status();
    print_line(status.as_str_name())?;
    ensure!(status == ServingStatus::Serving, "not serving");
    Ok(())
}
