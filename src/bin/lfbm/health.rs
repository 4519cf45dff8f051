//! `lfbm health`.

use anyhow::{Context, ensure};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::connection::channel;

pub(crate) async fn run(server: &str) -> anyhow::Result<()> {
    let reply = HealthClient::new(channel(server).await?)
        .check(HealthCheckRequest::default())
        .await
        .context("the server does not answer health checks")?;
    let status = reply.into_inner().status();
    println!("{}", status.as_str_name());
    ensure!(status == ServingStatus::Serving, "{server} is not serving");
    Ok(())
}
