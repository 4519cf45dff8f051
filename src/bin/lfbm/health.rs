//! `lfbm health`.

use anyhow::ensure;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::connection::Connector;
use crate::output::print_line;
use crate::status::failure;

pub(crate) async fn run(connector: &Connector) -> anyhow::Result<()> {
    let mut client = connector.health().await?;
    let reply = client.check(HealthCheckRequest::default()).await;
    let status = reply.map_err(failure)?.into_inner().status();
    print_line(status.as_str_name())?;
    ensure!(
        status == ServingStatus::Serving,
        "the server is not serving"
    );
    Ok(())
}
