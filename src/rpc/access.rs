//! What every call passes on its way in: authorisation, admission, deadline.
//!
//! A call above the limit is refused before its request is read, so that the memory held by
//! requests is bounded. Health checks and reflection are not counted: a busy server is not a sick
//! one. tonic honours `grpc-timeout` too, but answers with CANCELLED, and for a stream only until
//! it has begun; here the code is DEADLINE_EXCEEDED, and a stream ends in time.
//! Depends on `crate::bearer` and the rest of `rpc`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, http};
use tonic::{Code, Status};

use crate::bearer::Bearer;
use crate::rpc::call::Call;
use crate::rpc::guard::Callers;
use crate::rpc::status::RpcError;

/// What a method asks of its caller.
#[derive(Clone, Copy, PartialEq)]
enum Entry {
    /// Anyone who can connect may ask: health.
    Open,
    /// A caller that is known, where callers must be: reflection, and what there is not.
    Known,
    /// The same, and a place among the open calls: our own services.
    Counted,
    /// The same, for as long as the caller sends: its reply comes last.
    Lasting,
}

/// Methods that the log knows by name.
const METHODS: [(&str, Entry); 13] = [
    ("/klankbord.v1.Classifier/Classify", Entry::Counted),
    ("/klankbord.v1.Classifier/ClassifyBatch", Entry::Counted),
    ("/klankbord.v1.Classifier/ClassifyStream", Entry::Counted),
    ("/klankbord.v1.Classifier/Explain", Entry::Counted),
    ("/klankbord.v1.Classifier/GetModel", Entry::Counted),
    ("/klankbord.v1.Feedback/Correct", Entry::Counted),
    ("/klankbord.v1.Kpi/Count", Entry::Lasting),
    ("/klankbord.v1.Routing/GetCrisis", Entry::Counted),
    ("/klankbord.v1.Routing/SetCrisis", Entry::Counted),
    ("/grpc.health.v1.Health/Check", Entry::Open),
    ("/grpc.health.v1.Health/Watch", Entry::Open),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Entry::Known),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Entry::Known),
];

/// Wraps the router.
#[derive(Clone)]
pub(super) struct Access<S> {
    inner: S,
    calls: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    call_timeout: Option<Duration>,
    callers: Callers,
}

impl<S> Access<S> {
    /// Lets `max_calls` calls through at once, seven in eight of them bulk at most, each for at most
    /// `call_timeout` until its reply begins, which a stream's does at once.
    pub(super) fn new(
        inner: S,
        max_calls: usize,
        call_timeout: Option<Duration>,
        callers: Callers,
    ) -> Self {
        let calls = Arc::new(Semaphore::new(max_calls));
        let bulk = Arc::new(Semaphore::new((max_calls - max_calls / 8).max(1)));
        Self { inner, calls, bulk, call_timeout, callers }
    }

    /// Who calls; an error where somebody must and nobody that is known does.
    fn caller(&self, headers: &http::HeaderMap) -> Result<Option<Arc<Bearer>>, RpcError> {
        let Some(callers) = &self.callers else { return Ok(None) };
        let header = headers.get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let token = header.and_then(|header| {
            let (scheme, token) = header.split_at_checked(b"bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        let found = token.and_then(|token| callers.load().find(token).cloned());
        found.map(Some).ok_or(RpcError::Unauthenticated)
    }

    /// Lets a call in, or says why not.
    fn admit(&self, entry: Entry, headers: &http::HeaderMap) -> Result<Admitted, RpcError> {
        if entry == Entry::Open {
            return Ok((None, None));
        }
        let bearer = self.caller(headers)?;
        if entry == Entry::Known {
            return Ok((bearer, None));
        }
        let permit = Arc::clone(&self.calls).try_acquire_owned();
        permit.map(|permit| (bearer, Some(permit))).map_err(|_| RpcError::TooManyCalls)
    }
}

/// Who calls, and its place among the open calls.
type Admitted = (Option<Arc<Bearer>>, Option<OwnedSemaphorePermit>);

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
        let known = METHODS.into_iter().find(|(path, _)| *path == request.uri().path());
        let (path, entry) = known.unwrap_or(("other", Entry::Known));
        let method = path.trim_start_matches('/');
        let (bearer, permit) = match self.admit(entry, request.headers()) {
            Ok(admitted) => admitted,
            Err(error) => {
                let refused = Status::from(error);
                let call = Call::new(method, None, None, None).traced(request.headers());
                call.end(refused.code());
                return Box::pin(async { Ok(refused.into_http()) });
            }
        };
        let deadline = request.headers().get("grpc-timeout").and_then(|v| timeout(v.as_bytes()));
        let mut call = Call::new(method, deadline, bearer, permit).traced(request.headers());
        call.bulk = Some(Arc::clone(&self.bulk));
        let call = Arc::new(call);
        request.extensions_mut().insert(Arc::clone(&call));

        // The timers start here, in step with tonic's, so that the caller gets our code.
        let ours = self.call_timeout.filter(|_| entry != Entry::Lasting).map(tokio::time::sleep);
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
                None if call.replies_later() => {}
                None => call.end(Code::Ok),
            }
            // Until the last of the reply is sent: who does not read replies holds places, not memory.
            Ok(response.map(|body| Body::new(Held { body, _call: call })))
        })
    }
}

/// A reply's body, and the call that lasts as long.
struct Held {
    body: Body,
    _call: Arc<Call>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
        let Ok(response) = access.call(head.uri(METHODS[0].0).body(()).unwrap()).await;
        Status::from_header_map(response.headers()).unwrap().code()
    }

    #[tokio::test]
    async fn a_call_ends_at_the_callers_deadline_or_ours() {
        let request = http::Request::builder;
        let mut patient = Access::new(Stuck, 1, None, None);
        let hurried = request().header("grpc-timeout", "1m");
        assert_eq!(end(&mut patient, hurried).await, Code::DeadlineExceeded);
        let mut strict = Access::new(Stuck, 1, Some(Duration::from_millis(1)), None);
        assert_eq!(end(&mut strict, request()).await, Code::DeadlineExceeded);
        let relaxed = request().header("grpc-timeout", "1H");
        assert_eq!(end(&mut strict, relaxed).await, Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_gives_its_place_back() {
        let request = || http::Request::builder().uri(METHODS[0].0).body(()).unwrap();
        let mut access = Access::new(Stuck, 1, None, None);
        let open = access.call(request());
        let Ok(refused) = access.call(request()).await;
        let refused = Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(access.calls.available_permits(), 0);
        drop(open);
        assert_eq!(access.calls.available_permits(), 1);
    }

    /// A reply of which nothing comes yet.
    struct Endless;

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    /// A router that answers at once.
    #[derive(Clone)]
    struct Quick;

    impl Service<http::Request<()>> for Quick {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<()>) -> Self::Future {
            std::future::ready(Ok(http::Response::new(Body::new(Endless))))
        }
    }

    #[tokio::test]
    async fn a_reply_that_nobody_reads_holds_its_place() {
        let mut access = Access::new(Quick, 1, None, None);
        let request = || http::Request::builder().uri(METHODS[0].0).body(()).unwrap();
        let Ok(unread) = access.call(request()).await;
        assert_eq!(access.calls.available_permits(), 0);
        drop(unread);
        assert_eq!(access.calls.available_permits(), 1);
    }
}
