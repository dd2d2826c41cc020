//! What every call passes on its way in and out: admission, deadline, one line in the log.
//!
//! A call above the limit is refused before its request is read, so that the memory held by
//! requests is bounded. Health checks and reflection are not counted: a busy server is not a sick
//! one. tonic honours `grpc-timeout` too, but answers with CANCELLED, and for a stream only until
//! it has begun; here the code is DEADLINE_EXCEEDED, and a stream ends in time.
//!
//! The log has method, code, number of messages and time taken; never what a client sent, not even
//! an unknown path. Depends on `crate::rpc::status` only.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Code, Extensions, Status};

use crate::rpc::status::RpcError;

/// Methods that the log knows by name.
const METHODS: [&str; 8] = [
    "/klankbord.v1.Classifier/Classify",
    "/klankbord.v1.Classifier/ClassifyBatch",
    "/klankbord.v1.Classifier/ClassifyStream",
    "/klankbord.v1.Classifier/GetModel",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// How many of them count towards the limit: those of our own service.
const COUNTED: usize = 4;

/// One call, from its request's head to the last of its reply. Logged when the last holder drops
/// it.
pub(super) struct Call {
    method: &'static str,
    begun: Instant,
    deadline: Option<Duration>,
    items: AtomicUsize,
    replies_later: AtomicBool,
    code: Mutex<Option<Code>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Call {
    fn new(
        method: &'static str,
        deadline: Option<Duration>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            method,
            begun: Instant::now(),
            deadline,
            items: AtomicUsize::new(0),
            replies_later: AtomicBool::new(false),
            code: Mutex::new(None),
            _permit: permit,
        }
    }

    /// The call that a request belongs to.
    pub(super) fn of(extensions: &Extensions) -> Arc<Self> {
        let call = extensions.get::<Arc<Self>>().cloned();
        call.unwrap_or_else(|| Arc::new(Self::new("other", None, None)))
    }

    /// Counts messages of the call.
    pub(super) fn add_items(&self, items: usize) {
        self.items.fetch_add(items, Ordering::Relaxed);
    }

    /// The call goes on after its reply has begun; [`Call::end`] will tell how it ended.
    pub(super) fn reply_later(&self) {
        self.replies_later.store(true, Ordering::Relaxed);
    }

    /// How the call ended. Only the first word counts.
    pub(super) fn end(&self, code: Code) {
        let mut end = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        end.get_or_insert(code);
    }

    /// Completes when the caller's deadline passes; never where there is none.
    pub(super) async fn deadline(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until((self.begun + deadline).into()).await,
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
        tracing::info!(
            target: "klankbord::access",
            method = self.method,
            code = ?code,
            items = self.items.load(Ordering::Relaxed),
            elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "call"
        );
    }
}

/// Wraps the router.
#[derive(Clone)]
pub(super) struct Access<S> {
    inner: S,
    calls: Arc<Semaphore>,
    call_timeout: Option<Duration>,
}

impl<S> Access<S> {
    /// Lets `max_calls` calls through at once, each for at most
    /// `call_timeout` until its reply begins, which a stream's does at once.
    pub(super) fn new(inner: S, max_calls: usize, call_timeout: Option<Duration>) -> Self {
        Self { inner, calls: Arc::new(Semaphore::new(max_calls)), call_timeout }
    }
}

impl<S, B> Service<http::Request<B>> for Access<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let known = METHODS.iter().position(|method| *method == request.uri().path());
        let method = known.map_or("other", |index| METHODS[index].trim_start_matches('/'));
        let permit = if known.is_some_and(|index| index < COUNTED) {
            match Arc::clone(&self.calls).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let refused = Status::from(RpcError::TooManyCalls);
                    Call::new(method, None, None).end(refused.code());
                    return Box::pin(async { Ok(refused.into_http()) });
                }
            }
        } else {
            None
        };
        let deadline = request.headers().get("grpc-timeout").and_then(|v| timeout(v.as_bytes()));
        let call = Arc::new(Call::new(method, deadline, permit));
        request.extensions_mut().insert(Arc::clone(&call));

        // The timers start here, in step with tonic's, so that the caller gets our code.
        let ours = self.call_timeout.map(tokio::time::sleep);
        let reply = self.inner.call(request);
        Box::pin(async move {
            let ours = async {
                match ours {
                    Some(sleep) => sleep.await,
                    None => std::future::pending().await,
                }
            };
            let response = tokio::select! {
                biased;
                response = reply => response?,
                () = call.deadline() => Status::from(RpcError::DeadlineExceeded).into_http(),
                () = ours => Status::from(RpcError::DeadlineExceeded).into_http(),
            };
            // An error that has no body has its status in the head.
            match Status::from_header_map(response.headers()) {
                Some(status) => call.end(status.code()),
                None if call.replies_later.load(Ordering::Relaxed) => {}
                None => call.end(Code::Ok),
            }
            Ok(response)
        })
    }
}

/// Reads a `grpc-timeout`: at most eight digits and a unit. What is not one is no deadline.
fn timeout(header: &[u8]) -> Option<Duration> {
    let (unit, digits) = header.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(value * 3600)),
        b'M' => Some(Duration::from_secs(value * 60)),
        b'S' => Some(Duration::from_secs(value)),
        b'm' => Some(Duration::from_millis(value)),
        b'u' => Some(Duration::from_micros(value)),
        b'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_has_them() {
        assert_eq!(timeout(b"2H"), Some(Duration::from_secs(7200)));
        assert_eq!(timeout(b"3M"), Some(Duration::from_secs(180)));
        assert_eq!(timeout(b"4S"), Some(Duration::from_secs(4)));
        assert_eq!(timeout(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout(b"99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(timeout(b"1n"), Some(Duration::from_nanos(1)));
        for bad in
            [&b""[..], b"S", b"999999999S", b"1", b"-1S", b"+1S", b"1.5S", b"1s", b"\xff\xffS"]
        {
            assert_eq!(timeout(bad), None);
        }
    }

    /// A router whose calls never end.
    #[derive(Clone)]
    struct Stuck;

    impl Service<http::Request<()>> for Stuck {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<()>) -> Self::Future {
            std::future::pending()
        }
    }

    async fn end(access: &mut Access<Stuck>, head: http::request::Builder) -> Code {
        let Ok(response) = access.call(head.uri(METHODS[0]).body(()).unwrap()).await;
        Status::from_header_map(response.headers()).unwrap().code()
    }

    #[tokio::test]
    async fn a_call_ends_at_the_callers_deadline_or_ours() {
        let request = http::Request::builder;
        let mut patient = Access::new(Stuck, 1, None);
        let hurried = request().header("grpc-timeout", "1m");
        assert_eq!(end(&mut patient, hurried).await, Code::DeadlineExceeded);
        let mut strict = Access::new(Stuck, 1, Some(Duration::from_millis(1)));
        assert_eq!(end(&mut strict, request()).await, Code::DeadlineExceeded);
        let relaxed = request().header("grpc-timeout", "1H");
        assert_eq!(end(&mut strict, relaxed).await, Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_gives_its_place_back() {
        let request = || http::Request::builder().uri(METHODS[0]).body(()).unwrap();
        let mut access = Access::new(Stuck, 1, None);
        let open = access.call(request());
        let Ok(refused) = access.call(request()).await;
        let refused = Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(access.calls.available_permits(), 0);
        drop(open);
        assert_eq!(access.calls.available_permits(), 1);
    }
}
