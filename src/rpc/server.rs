//! The service itself: takes calls, asks the pipeline, replies.
//!
//! The world is handed in: a bound listener, a loaded pipeline, a checked configuration, and a
//! future that says when to stop. Depends on the pipeline and on the rest of `rpc`.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::batch::lane::Lane;
use crate::config::ServerConfig;
use crate::explain::{explain, readings};
use crate::feedback::Store;
use crate::kpi::sentinel::Sentinel;
use crate::pipeline::{Live, Pipeline, PipelineError};
use crate::route::Router;
use crate::rpc::access::Access;
use crate::rpc::call::Call;
use crate::rpc::convert::{self, MAX_BATCH_MESSAGES};
use crate::rpc::feedback::Feedback;
use crate::rpc::guard::Guard;
use crate::rpc::kpi::Kpi;
use crate::rpc::pb::classifier_server::{self, ClassifierServer};
use crate::rpc::pb::feedback_server::FeedbackServer;
use crate::rpc::pb::kpi_server::KpiServer;
use crate::rpc::pb::routing_server::RoutingServer;
use crate::rpc::reading::{By, classify, reply, wish};
use crate::rpc::routing::Routing;
use crate::rpc::status::{Place, RpcError};
use crate::rpc::tally::Tally;
use crate::rpc::{connection, health, pb};

/// Why the server could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The contract built into this program cannot be shown by reflection.
    #[error("the service's descriptors cannot be used")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Every accepted call was finished.
    Drained,
    /// Some took longer than the drain timeout and were left.
    Overdue,
}

/// What a server answers with, and whom.
#[derive(Clone)]
pub struct Serving {
    pub live: Live,
    pub guard: Guard,
    /// Where there is a routing policy.
    pub router: Option<Arc<Router>>,
    /// Where corrections are kept.
    pub feedback: Option<Arc<Store>>,
    /// What watches for a crisis.
    pub sentinel: Option<Sentinel>,
}

impl From<Pipeline> for Serving {
    /// To everybody, and without a routing policy.
    fn from(pipeline: Pipeline) -> Self {
        Serving {
            live: pipeline.into(),
            guard: Guard::default(),
            router: None,
            feedback: None,
            sentinel: None,
        }
    }
}

/// Serves until `shutdown` completes, then finishes the calls that were accepted.
///
/// New connections are refused from then on, health turns to NOT_SERVING, streams get the replies
/// to what was read from them. Calls that take longer than the configuration's drain timeout are
/// left behind: they end with the runtime.
///
/// # Errors
/// [`ServeError`] where serving cannot begin or the transport fails. A client cannot bring either
/// about.
pub async fn run(
    listener: TcpListener,
    serving: Serving,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<Served, ServeError> {
    let (stop, stopping) = watch::channel(false);
    let reflect = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let config = Arc::new(config);
    let Serving { live, guard: Guard { tls, callers }, router, feedback: store, sentinel } =
        serving;
    let tally = Tally(sentinel);
    let feedback = FeedbackServer::new(Feedback { live: live.clone(), store });
    let routing = RoutingServer::new(Routing(router.clone()));
    let kpi = KpiServer::new(Kpi {
        live: live.clone(),
        config: Arc::clone(&config),
        stopping: stopping.clone(),
    });
    let (own_config, stopping_too) = (Arc::clone(&config), stopping.clone());
    let classifier = Classifier { live, router, tally, config: own_config, stopping: stopping_too };
    let routes = Routes::new(
        ClassifierServer::new(classifier).max_decoding_message_size(config.max_request_bytes),
    )
    .add_service(feedback)
    .add_service(kpi.max_decoding_message_size(config.max_request_bytes))
    .add_service(routing)
    .add_service(health::service(stopping.clone()))
    .add_service(reflect().build_v1()?)
    .add_service(reflect().build_v1alpha()?)
    .prepare();
    let service = Access::new(routes, config.max_calls, config.call_timeout, callers);

    let accepted = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(config.keepalive_interval));
    let signal = async move {
        shutdown.await;
        tracing::info!("shutting down: finishing the calls that were accepted");
        stop.send_replace(true);
    };
    let limits = connection::Limits {
        most: config.max_connections,
        patience: config.greeting_timeout,
        age: config.max_connection_age.zip(config.max_connection_age_grace).map(|(a, g)| a + g),
    };
    let incoming = connection::incoming(accepted, tls, limits, stopping.clone());
    let serving = transport(&config).serve_with_incoming_shutdown(service, incoming, signal);
    let mut began = stopping;
    let overdue = async move {
        let begun = began.wait_for(|stopping| *stopping).await.is_ok();
        if !begun {
            // Serving has ended without a shutdown: there is nothing to wait for.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(config.drain_timeout).await;
    };
    tokio::select! {
        served = serving => served.map(|()| Served::Drained).map_err(Into::into),
        () = overdue => {
            tracing::warn!("some calls were not finished in time; leaving them");
            Ok(Served::Overdue)
        }
    }
}

/// HTTP/2 within the configuration's limits.
fn transport(config: &ServerConfig) -> Server {
    let server = Server::builder()
        .http2_keepalive_interval(Some(config.keepalive_interval))
        .http2_keepalive_timeout(Some(config.keepalive_timeout))
        .http2_max_header_list_size(config.max_header_bytes)
        // Clients that open calls and reset them at once (CVE-2023-44487) are shown out.
        .http2_max_pending_accept_reset_streams(Some(config.max_resets))
        .http2_max_local_error_reset_streams(Some(config.max_resets))
        .max_concurrent_streams(config.max_calls_per_connection);
    // The grace is not tonic's: its own ends calls without a word to the client beforehand.
    match config.max_connection_age {
        Some(age) => server.max_connection_age(age),
        None => server,
    }
}

/// `klankbord.v1.Classifier`.
pub(super) struct Classifier {
    live: Live,
    router: Option<Arc<Router>>,
    tally: Tally,
    config: Arc<ServerConfig>,
    stopping: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl classifier_server::Classifier for Classifier {
    async fn classify(
        &self,
        request: Request<pb::ClassifyRequest>,
    ) -> Result<Response<pb::ClassifyResponse>, Status> {
        let call = Call::of(request.extensions());
        call.add_items(1);
        let pb::ClassifyRequest { message, spans, lane } = request.into_inner();
        let pipeline = self.live.now();
        let wish = wish(&pipeline, &call, (spans, lane), 1)?;
        let by = By { pipeline: &pipeline, router: self.router.as_deref(), tally: &self.tally };
        let verdict = classify(by, message, wish, Place::Only).await?;
        Ok(Response::new(pb::ClassifyResponse { verdict: Some(verdict) }))
    }

    async fn classify_batch(
        &self,
        request: Request<pb::ClassifyBatchRequest>,
    ) -> Result<Response<pb::ClassifyBatchResponse>, Status> {
        use pb::classify_batch_result::Result as Outcome;

        let call = Call::of(request.extensions());
        let pb::ClassifyBatchRequest { messages, spans, lane } = request.into_inner();
        call.add_items(messages.len());
        if messages.len() > MAX_BATCH_MESSAGES {
            return Err(RpcError::BatchTooLong(messages.len()).into());
        }
        let pipeline = self.live.now();
        let wish = wish(&pipeline, &call, (spans, lane), messages.len())?;
        let by = By { pipeline: &pipeline, router: self.router.as_deref(), tally: &self.tally };
        let results = messages.into_iter().enumerate().map(async |(index, message)| {
            let place = Place::InBatch(index);
            let outcome = match classify(by, Some(message), wish, place).await {
                Ok(verdict) => Outcome::Verdict(verdict),
                Err(error) => Outcome::Error(error.into()),
            };
            pb::ClassifyBatchResult { result: Some(outcome) }
        });
        let results = join_all(results).await;
        Ok(Response::new(pb::ClassifyBatchResponse { results }))
    }

    type ClassifyStreamStream = BoxStream<'static, Result<pb::ClassifyStreamResponse, Status>>;

    async fn classify_stream(
        &self,
        request: Request<Streaming<pb::ClassifyStreamRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        let call = Call::of(request.extensions());
        call.take_bulk_place()?;
        call.reply_later();
        let (live, router, tally) = (self.live.clone(), self.router.clone(), self.tally.clone());
        // Why reading stopped, unless the caller was done. Told after the last reply: a status
        // ends a stream, and would cut off replies that are still in the works.
        let ending = Arc::new(OnceLock::<Status>::new());

        let mut stopping = self.stopping.clone();
        let stopped = {
            let ending = Arc::clone(&ending);
            async move {
                // An error says that the server itself is gone.
                let _ = stopping.wait_for(|stopping| *stopping).await;
                let _ = ending.set(RpcError::from(PipelineError::ShuttingDown).into());
            }
        };
        let overdue = {
            let (call, ending) = (Arc::clone(&call), Arc::clone(&ending));
            async move {
                call.deadline().await;
                let _ = ending.set(RpcError::DeadlineExceeded.into());
            }
        };
        let broken = Arc::clone(&ending);
        let read = request
            .into_inner()
            .take_until(stopped)
            // The first error is the last item.
            .scan((), move |(), read| {
                let read = read.map_err(|status| broken.set(status)).ok();
                std::future::ready(read)
            });
        // Not within the window: what is read is answered, however slowly the token lets it come.
        let pacing = Arc::clone(&call);
        let read = read.then(move |request| {
            let call = Arc::clone(&pacing);
            async move {
                call.pace().await;
                request
            }
        });
        let counted = Arc::clone(&call);
        let replies = read
            .enumerate()
            .map(move |(index, request)| {
                counted.add_items(1);
                let (live, call) = (live.clone(), Arc::clone(&counted));
                let (router, tally) = (router.clone(), tally.clone());
                async move {
                    let pipeline = &*live.now();
                    let by = By { pipeline, router: router.as_deref(), tally: &tally };
                    reply(by, index, request, call.due()).await
                }
            })
            // The window: a caller that reads slowly is read from slowly, and holds up no other.
            .buffer_unordered(self.config.stream_window)
            .take_until(overdue)
            .map(Ok);
        let end = stream::once(async move {
            let status = ending.get().cloned();
            call.end(status.as_ref().map_or(Code::Ok, Status::code));
            status.map(Err)
        });
        let end = end.filter_map(std::future::ready);
        Ok(Response::new(replies.chain(end).boxed()))
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let call = Call::of(request.extensions());
        call.add_items(1);
        let pb::ExplainRequest { message, label } = request.into_inner();
        let message = convert::message(message, Place::Only)?;
        let label = convert::label(label)?;
        let pipeline = self.live.now();
        pipeline.ready(Lane::Interactive).map_err(RpcError::from)?;
        call.charge(readings(message.text()))?;
        let id = message.id().to_owned();
        let explained = explain(&pipeline, message, label).await.map_err(RpcError::from)?;
        Ok(Response::new(convert::explanation(id, &explained)))
    }

    async fn get_model(
        &self,
        _: Request<pb::GetModelRequest>,
    ) -> Result<Response<pb::GetModelResponse>, Status> {
        Ok(Response::new(pb::GetModelResponse {
            model: Some(convert::model(self.live.now().model())),
            limits: Some(convert::limits(&self.config)),
        }))
    }
}
