//! `klankbord.v1.Feedback`: takes corrections and counts how far verdicts were off. Depends on `crate::feedback` and the
//! rest of `rpc`.

use std::sync::Arc;
use std::time::SystemTime;

use metrics::counter;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use crate::feedback::{Correction, Store};
use crate::message::{Intent, Language, MAX_ID_BYTES, Sentiment};
use crate::pipeline::Live;
use crate::rpc::call::Call;
use crate::rpc::convert;
use crate::rpc::pb;
use crate::rpc::pb::feedback_server;
use crate::rpc::status::{Place, RpcError};

/// The service; without a store it keeps nothing.
pub(super) struct Feedback {
    pub live: Live,
    pub store: Option<Arc<Store>>,
}

/// What a request says is right, of the verdict of `model`.
fn correction(
    request: pb::CorrectRequest,
    model: Option<&pb::ModelId>,
) -> Result<Correction, RpcError> {
    let pb::CorrectRequest { message, intents, sentiment, urgent, who, time, .. } = request;
    let raw = message.ok_or(RpcError::Missing(Place::Only))?;
    let (message, has_text) = convert::perhaps_text(raw)?;
    if message.id().is_empty() && !has_text {
        return Err(RpcError::Field("message.id", "is empty, and there is no text either"));
    }
    if who.trim().is_empty() || who.len() > MAX_ID_BYTES {
        return Err(RpcError::Field("who", "is empty or of more than 256 bytes"));
    }
    let intents = intents.map(|set| distinct(&set.intents)).transpose()?;
    let sentiment = convert::named_sentiment(sentiment);
    if intents.is_none() && sentiment.is_none() && urgent.is_none() {
        return Err(RpcError::Field("intents", "is not set, nor is any other label"));
    }
    Ok(Correction {
        id: message.id().to_owned(),
        text: has_text.then(|| message.text().to_owned()),
        channel: message.channel(),
        language: message.language_hint().filter(|hint| *hint != Language::Undetermined),
        intents,
        sentiment,
        urgent,
        who,
        at: time.unwrap_or_else(|| Timestamp::from(SystemTime::now())).to_string(),
        model: model.map(|model| (model.version.clone(), model.digest.clone())),
    })
}

/// Intents, each of which there is, and once.
fn distinct(values: &[i32]) -> Result<Vec<Intent>, RpcError> {
    let wrong = RpcError::Field("intents", "has one twice, or one that there is not");
    let mut found = Vec::new();
    for value in values {
        match convert::named_intent(*value) {
            Some(intent) if !found.contains(&intent) => found.push(intent),
            _ => return Err(wrong),
        }
    }
    Ok(found)
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
    let felt = said.sentiment.as_ref();
    let felt = felt.and_then(|said| convert::named_sentiment(said.sentiment));
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
        let mut request = request.into_inner();
        let said = request.verdict.take();
        let model = said.as_ref().and_then(|said| said.model.as_ref());
        let correction = correction(request, model)?;
        store.keep(&correction).await.map_err(RpcError::from)?;
        // What a client calls its model may be anything; the counters know our own.
        let now = self.live.now();
        let id = &now.model().id;
        let ours = model.is_some_and(|model| model.digest == id.digest);
        let version = if ours { id.version.as_str() } else { "other" };
        if let Some(said) = &said {
            count(&correction, said, version);
        }
        Ok(Response::new(pb::CorrectResponse {}))
    }
}
