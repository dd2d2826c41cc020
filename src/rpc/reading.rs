//! From a message as it came in to its verdict as it goes back. Depends on the pipeline, the router and the rest
//! of `rpc`.

use std::time::Instant;

use metrics::counter;

use crate::batch::lane::{Lane, Terms};
use crate::pipeline::{Pipeline, PipelineError};
use crate::route::Router;
use crate::rpc::call::Call;
use crate::rpc::status::{Place, RpcError};
use crate::rpc::tally::Tally;
use crate::rpc::{convert, pb};

/// How a message is to be read.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub spans: bool,
    pub terms: Terms,
}

/// Who reads a message, says where it goes, and counts it.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub pipeline: &'a Pipeline,
    pub router: Option<&'a Router>,
    pub tally: &'a Tally,
}

/// Checks one message, waits for its verdict. Dropping the future cancels the work.
pub(super) async fn classify(
    By { pipeline, router, tally }: By<'_>,
    mut raw: Option<pb::Message>,
    Wish { spans, terms }: Wish,
    place: Place,
) -> Result<pb::Verdict, RpcError> {
    let tags = convert::tags(&mut raw, place)?;
    let message = convert::message(raw, place)?;
    let (id, channel) = (message.id().to_owned(), message.channel());
    let (verdict, provenance) = match spans {
        true => {
            pipeline.trace(message, terms).await.map(|(v, provenance)| (v, Some(provenance)))?
        }
        false => (pipeline.classify_on(message, terms).await?, None),
    };
    tally.count(&verdict, channel, terms.lane);
    let route = router.map(|router| convert::route(router.route(&verdict, channel, &tags)));
    Ok(pb::Verdict { route, ..convert::verdict(id, &verdict, provenance) })
}

/// How the messages of a unary call are to be read, if it may send so many and there is time for them.
pub(super) fn wish(
    pipeline: &Pipeline,
    call: &Call,
    (spans, lane): (bool, i32),
    messages: usize,
) -> Result<Wish, RpcError> {
    let lane = convert::lane(lane, Lane::Interactive);
    if lane == Lane::Bulk {
        call.take_bulk_place()?;
    }
    pipeline.ready(lane).inspect_err(|error| {
        // The call is counted where it is refused; here, what else it would have brought.
        if let PipelineError::Overloaded { .. } = error {
            let others = messages.saturating_sub(1) as u64;
            counter!("klankbord_rejected_total", "reason" => "queue_full").increment(others);
        }
    })?;
    call.charge(messages)?;
    Ok(Wish { spans, terms: Terms { lane, deadline: call.due() } })
}

/// The reply to one request of a stream.
pub(super) async fn reply(
    by: By<'_>,
    index: usize,
    request: pb::ClassifyStreamRequest,
    deadline: Option<Instant>,
) -> pb::ClassifyStreamResponse {
    use pb::classify_stream_response::Result as Outcome;

    let pb::ClassifyStreamRequest { message, spans, lane } = request;
    let wish = Wish { spans, terms: Terms { lane: convert::lane(lane, Lane::Bulk), deadline } };
    let id = convert::id(message.as_ref());
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let outcome = match classify(by, message, wish, Place::Only).await {
        Ok(verdict) => Outcome::Verdict(verdict),
        Err(error) => Outcome::Error(error.into()),
    };
    pb::ClassifyStreamResponse { id, index, result: Some(outcome) }
}
