//! Answers `grpc.health.v1.Health` from the one fact there is: whether shutdown has begun.
//!
//! tonic-health's own service keeps a watcher's stream open for as long as the process lives, and
//! an open stream holds up a graceful shutdown; this one tells watchers NOT_SERVING and ends their
//! streams. It depends on nothing else in the crate.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::rpc::pb::classifier_server::ClassifierServer;
use crate::rpc::server::Classifier;

/// Health of the server as a whole (the empty name) and of our service.
pub(super) struct Healthy {
    stopping: watch::Receiver<bool>,
}

/// The service; `stopping` becomes true when shutdown begins.
pub(super) fn service(stopping: watch::Receiver<bool>) -> HealthServer<impl Health> {
    HealthServer::new(Healthy { stopping })
}

fn known(service: &str) -> bool {
    service.is_empty() || service == <ClassifierServer<Classifier> as NamedService>::NAME
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Healthy {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !known(&request.get_ref().service) {
            return Err(Status::not_found("no such service"));
        }
        let status = match *self.stopping.borrow() {
            true => ServingStatus::NotServing,
            false => ServingStatus::Serving,
        };
        Ok(Response::new(response(status)))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (now, last) = match known(&request.get_ref().service) {
            true => (ServingStatus::Serving, ServingStatus::NotServing),
            false => (ServingStatus::ServiceUnknown, ServingStatus::ServiceUnknown),
        };
        let mut stopping = self.stopping.clone();
        let last = stream::once(async move {
            // An error says that the server is gone, which is no different.
            let _ = stopping.wait_for(|stopping| *stopping).await;
            Ok(response(last))
        });
        Ok(Response::new(stream::iter([Ok(response(now))]).chain(last).boxed()))
    }
}
