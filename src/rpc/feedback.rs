//! `klankbord.v1.Feedback`: takes corrections and counts how far verdicts were off. Depends on `crate::feedback` and the
//! rest of `rpc`.

use std::sync::Arc;
use std::time::SystemTime;

use metrics::counter;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use crate::feedback::{Correction, Store};
use crate::message::{Intent, InvalidMessage, Language, MAX_ID_BYTES, Sentiment};
use crate::pipeline::Live;
use crate::rpc::call::Call;
use crate::rpc::convert::{self, Parts};
use crate::rpc::pb;
use crate::rpc::pb::feedback_server;
use crate::rpc::status::{Place, RpcError};

/// The service; without a store it keeps nothing.
pub(super) struct Feedback {
    pub live: Live,
    pub store: Option<Arc<Store>>,
}

fn wrong(field: &'static str, reason: &str) -> RpcError {
    RpcError::Invalid(Place::Only, InvalidMessage { field, reason: reason.to_owned() })
}

/// The intent that a value on the wire stands for.
fn intent(value: i32) -> Option<Intent> {
    let at = usize::try_from(value).ok()?.checked_sub(1)?;
    Intent::ALL.get(at).copied()
}

fn sentiment(value: i32) -> Option<Sentiment> {
    let at = usize::try_from(value).ok()?.checked_sub(1)?;
    Sentiment::ALL.get(at).copied()
}

fn correction(request: pb::CorrectRequest) -> Result<Correction, RpcError> {
    let pb::CorrectRequest { message, intents, sentiment: felt, urgent, who, time, verdict } =
        request;
    let raw = message.ok_or(RpcError::Missing(Place::Only))?;
    let Parts { id, text, channel, language } = convert::parts(raw)?;
    if id.is_empty() && text.is_none() {
        return Err(wrong("id", "is empty, and there is no text either"));
    }
    if who.trim().is_empty() || who.len() > MAX_ID_BYTES {
        return Err(RpcError::Field("who", "is empty or of more than 256 bytes"));
    }
    let intents = intents.map(|set| {
        let mut found: Vec<_> = set.intents.into_iter().map(intent).collect::<Option<_>>()?;
        let count = found.len();
        found.sort_by_key(|intent| *intent as usize);
        found.dedup();
        (found.len() == count).then_some(found)
    });
    let intents = match intents {
        Some(None) => {
            return Err(RpcError::Field("intents", "has one twice, or one that there is not"));
        }
        Some(found) => found,
        None => None,
    };
    let felt = sentiment(felt);
    if intents.is_none() && felt.is_none() && urgent.is_none() {
        return Err(RpcError::Field("intents", "is not set, nor is any other label"));
    }
    let at = time.unwrap_or_else(|| Timestamp::from(SystemTime::now()));
    let model = verdict.and_then(|verdict| verdict.model);
    Ok(Correction {
        id,
        text,
        channel,
        language: language.filter(|language| *language != Language::Undetermined),
        intents,
        sentiment: felt,
        urgent,
        who,
        at: at.to_string(),
        model: model.map(|model| (model.version, model.digest)),
    })
}

/// Counts the labels that a verdict missed, and those that it gave wrongly. `version` is a name of ours.
fn count(right: &Correction, said: &pb::Verdict, version: &str) {
    let note = |label: &'static str, right: bool, said: bool| {
        let kind = match (right, said) {
            (true, false) => "missed",
            (false, true) => "wrong",
            _ => "confirmed",
        };
        counter!(
            "klankbord_corrections_total",
            "label" => label, "kind" => kind, "model_version" => version.to_owned()
        )
        .increment(1);
    };
    if let Some(intents) = &right.intents {
        for (intent, said) in Intent::ALL.into_iter().zip(&said.intents) {
            if intents.contains(&intent) || said.holds {
                note(intent.name(), intents.contains(&intent), said.holds);
            }
        }
    }
    let felt = said.sentiment.as_ref().and_then(|said| sentiment(said.sentiment));
    if let (Some(right), Some(said)) = (right.sentiment, felt) {
        for each in Sentiment::ALL.into_iter().filter(|each| *each == right || *each == said) {
            note(each.name(), each == right, each == said);
        }
    }
    if let (Some(right), Some(said)) = (right.urgent, &said.urgent)
        && (right || said.holds)
    {
        note("urgent", right, said.holds);
    }
}

#[tonic::async_trait]
impl feedback_server::Feedback for Feedback {
    async fn correct(
        &self,
        request: Request<pb::CorrectRequest>,
    ) -> Result<Response<pb::CorrectResponse>, Status> {
        let call = Call::of(request.extensions());
        call.add_items(1);
        let store = self.store.as_ref().ok_or(RpcError::NoFeedback)?;
        call.charge(1)?;
        let request = request.into_inner();
        let said = request.verdict.clone();
        // What a client calls its model may be anything; the counters know our own.
        let now = self.live.now();
        let id = &now.model().id;
        let ours = |verdict: &pb::Verdict| {
            verdict.model.as_ref().is_some_and(|model| model.digest == id.digest)
        };
        let version = if said.as_ref().is_some_and(ours) { id.version.as_str() } else { "other" };
        let correction = correction(request)?;
        store.keep(&correction).await.map_err(RpcError::from)?;
        if let Some(said) = &said {
            count(&correction, said, version);
        }
        Ok(Response::new(pb::CorrectResponse {}))
    }
}
