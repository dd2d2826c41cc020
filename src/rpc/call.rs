//! One call, from its request's head to the last of its reply: who calls, until when, what it has used, how it ended.
//!
//! The log has method, code, number of messages and time taken; never what a client sent, not even
//! an unknown path, and a caller by the name of its token. Depends on `crate::bearer`, `crate::telemetry` and
//! `rpc::status`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics::{gauge, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::http;
use tonic::{Code, Extensions};
use tracing::Span;

use crate::bearer::Bearer;
use crate::rpc::status::RpcError;
use crate::telemetry::traces;

/// One call, from its request's head to the last of its reply. Logged when the last holder drops
/// it.
pub(super) struct Call {
    method: &'static str,
    begun: Instant,
    deadline: Option<Duration>,
    items: AtomicUsize,
    replies_later: AtomicBool,
    code: Mutex<Option<Code>>,
    bearer: Option<Arc<Bearer>>,
    permit: Option<OwnedSemaphorePermit>,
    /// Places of bulk calls, and this one's where it is one.
    pub(super) bulk: Option<Arc<Semaphore>>,
    bulk_place: OnceLock<OwnedSemaphorePermit>,
    span: Span,
}

impl Call {
    pub(super) fn new(
        method: &'static str,
        deadline: Option<Duration>,
        bearer: Option<Arc<Bearer>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        if permit.is_some() {
            gauge!("klankbord_calls_open").increment(1.0);
        }
        Self {
            method,
            begun: Instant::now(),
            deadline,
            items: AtomicUsize::new(0),
            replies_later: AtomicBool::new(false),
            code: Mutex::new(None),
            bearer,
            permit,
            bulk: None,
            bulk_place: OnceLock::new(),
            span: Span::none(),
        }
    }

    /// With a span, which ends when the call does.
    pub(super) fn traced(mut self, headers: &http::HeaderMap) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let caller = traces::Caller { parent: header("traceparent"), state: header("tracestate") };
        self.span = traces::call(self.method, caller);
        self
    }

    /// The call that a request belongs to.
    pub(super) fn of(extensions: &Extensions) -> Arc<Self> {
        let call = extensions.get::<Arc<Self>>().cloned();
        call.unwrap_or_else(|| Arc::new(Self::new("other", None, None, None)))
    }

    /// Who calls, by the name of the token, where there are tokens.
    pub(super) fn caller(&self) -> Option<&str> {
        self.bearer.as_ref().map(|bearer| bearer.name())
    }

    /// Counts messages of the call.
    pub(super) fn add_items(&self, items: usize) {
        self.items.fetch_add(items, Ordering::Relaxed);
    }

    /// Takes a place for the bulk lane, which may not have all: who waits for an answer must find one.
    pub(super) fn take_bulk_place(&self) -> Result<(), RpcError> {
        let Some(places) = &self.bulk else { return Ok(()) };
        let place = Arc::clone(places).try_acquire_owned();
        let _ = self.bulk_place.set(place.map_err(|_| RpcError::TooManyCalls)?);
        Ok(())
    }

    /// Takes messages off what the caller's token may send.
    pub(super) fn charge(&self, messages: usize) -> Result<(), RpcError> {
        let charged = self.bearer.as_ref().map_or(Ok(()), |bearer| bearer.take(messages));
        charged.map_err(RpcError::RateLimited)
    }

    /// As [`Call::charge`] for one message, waiting for as long as it takes: a stream is slowed down.
    pub(super) async fn pace(&self) {
        while let Some(Err(wait)) = self.bearer.as_ref().map(|bearer| bearer.take(1)) {
            tokio::time::sleep(wait).await;
        }
    }

    /// The call goes on after its reply has begun; [`Call::end`] will tell how it ended.
    pub(super) fn reply_later(&self) {
        self.replies_later.store(true, Ordering::Relaxed);
    }

    /// Whether it goes on after its reply has begun.
    pub(super) fn replies_later(&self) -> bool {
        self.replies_later.load(Ordering::Relaxed)
    }

    /// How the call ended. Only the first word counts.
    pub(super) fn end(&self, code: Code) {
        let mut end = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        end.get_or_insert(code);
    }

    /// When the caller's deadline passes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadline.and_then(|deadline| self.begun.checked_add(deadline))
    }

    /// Completes when the caller's deadline passes; never where there is none.
    pub(super) async fn deadline(&self) {
        match self.due() {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let elapsed = self.begun.elapsed();
        // A call that nobody ended was dropped by the transport: its caller is gone.
        let end = *self.code.get_mut().unwrap_or_else(PoisonError::into_inner);
        let code = end.unwrap_or(Code::Cancelled);
        if self.permit.is_some() {
            gauge!("klankbord_calls_open").decrement(1.0);
        }
        histogram!(
            "rpc_server_call_duration_seconds",
            "rpc_system_name" => "grpc",
            "rpc_method" => self.method,
            "rpc_response_status_code" => name(code)
        )
        .record(elapsed);
        traces::answered(&self.span, name(code), self.items.load(Ordering::Relaxed));
        tracing::info!(
            target: "klankbord::access",
            method = self.method,
            code = ?code,
            caller = self.caller(),
            items = self.items.load(Ordering::Relaxed),
            elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "call"
        );
    }
}

/// A code as the protocol spells it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
