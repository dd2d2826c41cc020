//! The one map from errors to gRPC codes, with the details that a client can act on.
//!
//! No status quotes what a client sent: field paths, sizes and reasons only. Depends on the errors
//! of the domain and the pipeline.

use std::fmt;
use std::time::Duration;

use metrics::counter;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

use crate::feedback::FeedbackError;
use crate::kpi::TableError;
use crate::message::InvalidMessage;
use crate::pipeline::PipelineError;
use crate::rpc::convert::MAX_BATCH_MESSAGES;

/// When a client may try again after a shutdown began: by then a load balancer has noticed.
const RETRY_AFTER_SHUTDOWN: Duration = Duration::from_secs(1);
/// When a client may try again after it was refused for the number of open calls.
const RETRY_AFTER_TOO_MANY_CALLS: Duration = Duration::from_millis(100);

/// Where in a request a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The only message of its request.
    Only,
    /// In a batch, counted from 0.
    InBatch(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Only => f.write_str("message"),
            Place::InBatch(index) => write!(f, "messages[{index}]"),
        }
    }
}

/// Everything that can stand in the way of a verdict or a call.
#[derive(Debug)]
pub(super) enum RpcError {
    /// A request without its message.
    Missing(Place),
    /// A message that the domain refuses.
    Invalid(Place, InvalidMessage),
    /// A call that needs a routing policy, of a server that has none.
    NoPolicy,
    /// A correction, for a server that keeps none.
    NoFeedback,
    /// A field of a request that is wrong, and how.
    Field(&'static str, &'static str),
    /// A message that is not counted, and why.
    Uncounted(TableError),
    /// A correction that was not kept.
    Feedback(FeedbackError),
    /// A batch of more messages than we take at once.
    BatchTooLong(usize),
    /// The pipeline gave no verdict.
    Pipeline(PipelineError),
    /// More calls are open than the configuration allows.
    TooManyCalls,
    /// The caller's deadline, or ours, has passed.
    DeadlineExceeded,
    /// No token, or none that is known.
    Unauthenticated,
    /// The caller has sent more than its token's rate; how long to wait.
    RateLimited(Duration),
}

impl RpcError {
    /// Name of the reason, as in metrics, where a caller was refused.
    fn refusal(&self) -> Option<&'static str> {
        match self {
            RpcError::Missing(_)
            | RpcError::Invalid(..)
            | RpcError::Field(..)
            | RpcError::Uncounted(_)
            | RpcError::BatchTooLong(_) => Some("invalid"),
            RpcError::Pipeline(PipelineError::Overloaded { .. })
            | RpcError::Feedback(FeedbackError::Busy) => Some("queue_full"),
            RpcError::Pipeline(PipelineError::ShuttingDown) => Some("shutting_down"),
            RpcError::TooManyCalls => Some("too_many_calls"),
            RpcError::Unauthenticated => Some("unauthenticated"),
            RpcError::RateLimited(_) => Some("rate_limited"),
            RpcError::Pipeline(PipelineError::Failed | PipelineError::Expired)
            | RpcError::NoPolicy
            | RpcError::NoFeedback
            | RpcError::Feedback(FeedbackError::Disk)
            | RpcError::DeadlineExceeded => None,
        }
    }
}

impl From<PipelineError> for RpcError {
    fn from(error: PipelineError) -> Self {
        Self::Pipeline(error)
    }
}

impl From<FeedbackError> for RpcError {
    fn from(error: FeedbackError) -> Self {
        Self::Feedback(error)
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        // Every refusal comes by here, and once.
        if let Some(reason) = error.refusal() {
            counter!("klankbord_rejected_total", "reason" => reason).increment(1);
        }
        let retry = |after| ErrorDetails::with_retry_info(Some(after));
        match error {
            RpcError::Missing(place) => bad_request(place.to_string(), "is missing"),
            RpcError::Invalid(place, InvalidMessage { field, reason }) => {
                bad_request(format!("{place}.{field}"), &reason)
            }
            RpcError::NoPolicy => Status::failed_precondition("the server has no routing policy"),
            RpcError::NoFeedback => Status::failed_precondition("the server keeps no corrections"),
            RpcError::Field(field, reason) => bad_request(field.into(), reason),
            RpcError::Uncounted(error) => bad_request(error.field().into(), &error.reason()),
            RpcError::Feedback(error) => match error {
                FeedbackError::Disk => Status::internal(error.to_string()),
                FeedbackError::Busy => Status::with_error_details(
                    Code::ResourceExhausted,
                    error.to_string(),
                    retry(RETRY_AFTER_TOO_MANY_CALLS),
                ),
            },
            RpcError::BatchTooLong(messages) => bad_request(
                "messages".into(),
                &format!("holds {messages} messages; the limit is {MAX_BATCH_MESSAGES}"),
            ),
            RpcError::Pipeline(error) => {
                let message = error.to_string();
                match error {
                    PipelineError::Overloaded { retry_after } => Status::with_error_details(
                        Code::ResourceExhausted,
                        message,
                        retry(retry_after),
                    ),
                    PipelineError::ShuttingDown => Status::with_error_details(
                        Code::Unavailable,
                        message,
                        retry(RETRY_AFTER_SHUTDOWN),
                    ),
                    PipelineError::Failed => Status::internal(message),
                    PipelineError::Expired => Status::deadline_exceeded(message),
                }
            }
            RpcError::TooManyCalls => Status::with_error_details(
                Code::ResourceExhausted,
                "too many calls are open; try again",
                retry(RETRY_AFTER_TOO_MANY_CALLS),
            ),
            RpcError::DeadlineExceeded => Status::deadline_exceeded("the deadline has passed"),
            RpcError::Unauthenticated => {
                Status::unauthenticated("a bearer token is wanted in `authorization`")
            }
            RpcError::RateLimited(after) => Status::with_error_details(
                Code::ResourceExhausted,
                "more messages than this token may send; try again",
                retry(after),
            ),
        }
    }
}

/// The status of one item among others, as the contract has it.
impl From<RpcError> for pb::Status {
    fn from(error: RpcError) -> Self {
        let status = Status::from(error);
        let code = i32::from(status.code());
        // tonic carries the details as an encoded google.rpc.Status, or as nothing at all.
        let details = pb::Status::decode(status.details()).map(|s| s.details).unwrap_or_default();
        pb::Status { code, message: status.message().to_owned(), details }
    }
}

fn bad_request(field: String, reason: &str) -> Status {
    let message = format!("{field}: {reason}");
    let details = ErrorDetails::with_bad_request_violation(field, reason);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

#[cfg(test)]
mod tests {
    use tonic_types::RpcStatusExt as _;

    use super::*;

    fn both(error: impl Fn() -> RpcError) -> (Status, pb::Status) {
        let (status, item) = (Status::from(error()), pb::Status::from(error()));
        assert_eq!(i32::from(status.code()), item.code);
        assert_eq!(status.message(), item.message);
        (status, item)
    }

    #[test]
    fn an_invalid_field_is_named_with_its_path() {
        let invalid = || InvalidMessage { field: "text", reason: "is empty".into() };
        let (status, item) = both(|| RpcError::Invalid(Place::InBatch(3), invalid()));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "messages[3].text: is empty");
        for found in [status.get_details_bad_request(), item.get_details_bad_request()] {
            let violation = &found.unwrap().field_violations[0];
            assert_eq!(violation.field, "messages[3].text");
            assert_eq!(violation.description, "is empty");
        }
        let (status, _) = both(|| RpcError::Missing(Place::Only));
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "message");
    }

    #[test]
    fn what_may_be_tried_again_says_when() {
        let after = Duration::from_millis(250);
        let cases = [
            (PipelineError::Overloaded { retry_after: after }, Code::ResourceExhausted, after),
            (PipelineError::ShuttingDown, Code::Unavailable, RETRY_AFTER_SHUTDOWN),
        ];
        for (error, code, after) in cases {
            let (status, item) = both(|| RpcError::Pipeline(error.clone()));
            assert_eq!(status.code(), code);
            for found in [status.get_details_retry_info(), item.get_details_retry_info()] {
                assert_eq!(found.unwrap().retry_delay, Some(after));
            }
        }
    }

    #[test]
    fn a_failure_of_the_model_is_internal_and_promises_nothing() {
        let (status, item) = both(|| RpcError::Pipeline(PipelineError::Failed));
        assert_eq!(status.code(), Code::Internal);
        assert!(status.details().is_empty() && item.details.is_empty());
    }
}
