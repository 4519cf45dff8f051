use std::time::Duration;

use anyhow::Context;
use lfbm_server::proto::anomaly_detector_client::AnomalyDetectorClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn channel(server: &str) -> anyhow::Result<Channel> {
    let url = if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    };
    Endpoint::from_shared(url)
        .with_context(|| format!("{server:?} is no address; expected http://HOST:PORT"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .connect()
        .await
        .with_context(|| {
            format!("no server answers at {server}; start one, or name it with --server")
        })
}

pub(crate) async fn detector(server: &str) -> anyhow::Result<AnomalyDetectorClient<Channel>> {
    Ok(AnomalyDetectorClient::new(channel(server).await?))
}

/// What a request ended with. Tonic calls a deadline that passed on this side a cancellation, and
/// nothing here cancels.
pub(crate) fn code(status: &Status) -> Code {
    match status.code() {
        Code::Cancelled => Code::DeadlineExceeded,
        code => code,
    }
}
