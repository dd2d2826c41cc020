//! `klankbord.v1.Routing`: whether there is a crisis, and who says so. Depends on `crate::route` and the rest of `rpc`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::route::{CrisisMode, CrisisState, Router};
use crate::rpc::call::Call;
use crate::rpc::pb;
use crate::rpc::pb::routing_server;
use crate::rpc::status::RpcError;

/// The service; without a router it has nothing to say.
pub(super) struct Routing(pub Option<Arc<Router>>);

impl Routing {
    fn router(&self) -> Result<&Router, RpcError> {
        self.0.as_deref().ok_or(RpcError::NoPolicy)
    }
}

fn crisis(state: CrisisState) -> pb::Crisis {
    let mode = match state.mode {
        CrisisMode::Automatic => pb::CrisisMode::Automatic,
        CrisisMode::On => pb::CrisisMode::On,
        CrisisMode::Off => pb::CrisisMode::Off,
    };
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    pb::Crisis {
        active: state.active,
        mode: mode.into(),
        recent_messages: narrow(state.lately.messages),
        recent_complaints: narrow(state.lately.complaints),
    }
}

#[tonic::async_trait]
impl routing_server::Routing for Routing {
    async fn get_crisis(
        &self,
        _: Request<pb::GetCrisisRequest>,
    ) -> Result<Response<pb::GetCrisisResponse>, Status> {
        let crisis = Some(crisis(self.router()?.state()));
        Ok(Response::new(pb::GetCrisisResponse { crisis }))
    }

    async fn set_crisis(
        &self,
        request: Request<pb::SetCrisisRequest>,
    ) -> Result<Response<pb::SetCrisisResponse>, Status> {
        let caller = Call::of(request.extensions());
        let router = self.router()?;
        let mode = match request.get_ref().mode() {
            pb::CrisisMode::Automatic => CrisisMode::Automatic,
            pb::CrisisMode::On => CrisisMode::On,
            pb::CrisisMode::Off => CrisisMode::Off,
            pb::CrisisMode::Unspecified => {
                return Err(RpcError::Field("mode", "names no mode that there is").into());
            }
        };
        router.set(mode);
        tracing::warn!(?mode, caller = caller.caller(), "the crisis mode was set");
        Ok(Response::new(pb::SetCrisisResponse { crisis: Some(crisis(router.state())) }))
    }
}
