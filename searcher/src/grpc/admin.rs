//! `ocelli.v1.AdminService`.

use std::time::Duration;

use ocelli_proto::v1;
use ocelli_proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::Adapter;
use crate::convert;
use crate::error::Error;

/// The longest wait of `Drain`, in milliseconds.
const MAX_DRAIN_MS: u32 = 3_600_000;

#[tonic::async_trait]
impl AdminService for Adapter {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(v1::GetStatusResponse {
            indexes: self.0.states().into_iter().map(convert::status).collect(),
            ready: self.0.ready(),
            in_flight: u32::try_from(self.0.in_flight()).unwrap_or(u32::MAX),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn list_generations(
        &self,
        request: Request<v1::ListGenerationsRequest>,
    ) -> Result<Response<v1::ListGenerationsResponse>, Status> {
        let found = self.0.generations(&request.into_inner().index).await?;
        Ok(Response::new(convert::generations(found)))
    }

    async fn activate_generation(
        &self,
        request: Request<v1::ActivateGenerationRequest>,
    ) -> Result<Response<v1::ActivateGenerationResponse>, Status> {
        let request = request.into_inner();
        let (expected, generation) = (request.expected, request.generation);
        let change = self.0.activate(&request.index, expected, generation).await?;
        let (generation, open_ms) = convert::change(&change);
        Ok(Response::new(v1::ActivateGenerationResponse { generation, open_ms }))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let request = request.into_inner();
        let change = self.0.rollback(&request.index, request.expected).await?;
        let (generation, open_ms) = convert::change(&change);
        Ok(Response::new(v1::RollbackResponse { generation, open_ms }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        let change = self.0.reload(&request.into_inner().index).await?;
        let (generation, open_ms) = convert::change(&change);
        let faults = convert::faults(change.faults);
        Ok(Response::new(v1::ReloadResponse { generation, open_ms, faults }))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let request = request.into_inner();
        let drain = request.drain.ok_or_else(|| {
            Error::invalid("drain is not given; expected true or false").at("drain")
        })?;
        if request.timeout_ms > MAX_DRAIN_MS {
            let found = request.timeout_ms;
            let message = format!("timeout_ms is {found}; expected 0 to {MAX_DRAIN_MS}");
            return Err(Error::invalid(message).at("timeout_ms").into());
        }
        let timeout = Duration::from_millis(request.timeout_ms.into());
        let in_flight = self.0.drain(drain, timeout).await;
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        Ok(Response::new(v1::DrainResponse { in_flight }))
    }
}
