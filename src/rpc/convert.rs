//! Wire types to the domain's and back: where a client's bytes are checked, and nowhere else.
//!
//! Values of enums that we do not know are tolerated, so that newer clients can talk to us.
//! Depends on the domain and on what the pipeline tells of its model.

use prost::Message as _;

use crate::batch::lane::Lane;
use crate::config::ServerConfig;
use crate::explain::{Explanation, Label, Part};
use crate::message::{
    Channel, Intent, InvalidMessage, Language, MAX_ID_BYTES, MAX_TEXT_BYTES, Message, ModelId,
    Provenance, Sentiment, Verdict,
};
use crate::pipeline::ModelInfo;
use crate::route::{Handling, Route};
use crate::rpc::pb;
use crate::rpc::status::{Place, RpcError};

/// The most messages of one batch.
pub const MAX_BATCH_MESSAGES: usize = 1024;

/// Checks a message as it came in.
pub(super) fn message(raw: Option<pb::Message>, place: Place) -> Result<Message, RpcError> {
    let raw = raw.ok_or(RpcError::Missing(place))?;
    checked(raw).map_err(|invalid| RpcError::Invalid(place, invalid))
}

fn checked(raw: pb::Message) -> Result<Message, InvalidMessage> {
    let hint = utf8("language_hint", raw.language_hint)?;
    let hint = Some(hint).filter(|tag| !tag.is_empty()).map(|tag| Language::from_tag(&tag));
    let message = Message::new(utf8("id", raw.id)?, utf8("text", raw.text)?)?
        .with_context(utf8("context", raw.context)?)?
        .with_channel(one_of(&Channel::ALL, raw.channel))
        .with_language_hint(hint);
    Ok(message)
}

/// Checks a message of which no text need be known, and says whether one is; else something stands for it.
pub(super) fn perhaps_text(mut raw: pb::Message) -> Result<(Message, bool), RpcError> {
    let has_text = !raw.text.is_empty();
    if !has_text {
        raw.text = b"-".to_vec();
    }
    message(Some(raw), Place::Only).map(|message| (message, has_text))
}

/// Most tags of a message, and bytes of one.
const MAX_TAGS: usize = 16;
const MAX_TAG_BYTES: usize = 64;

/// The caller's own tags, taken out of a message.
pub(super) fn tags(raw: &mut Option<pb::Message>, place: Place) -> Result<Vec<String>, RpcError> {
    let tags = raw.as_mut().map(|raw| std::mem::take(&mut raw.tags)).unwrap_or_default();
    let wrong = |reason: String| RpcError::Invalid(place, InvalidMessage { field: "tags", reason });
    if tags.len() > MAX_TAGS {
        return Err(wrong(format!("has {} tags; the limit is {MAX_TAGS}", tags.len())));
    }
    if tags.iter().any(|tag| tag.len() > MAX_TAG_BYTES) {
        return Err(wrong(format!("has a tag of more than {MAX_TAG_BYTES} bytes")));
    }
    let tags = tags.into_iter().map(|tag| utf8("tags", tag));
    tags.collect::<Result<_, _>>().map_err(|invalid| RpcError::Invalid(place, invalid))
}

/// Where a message goes, as it goes back to the caller.
pub(super) fn route(route: Route) -> pb::Route {
    let handling = match route.handling {
        Handling::Human => pb::Handling::Human,
        Handling::Auto => pb::Handling::Auto,
    };
    let seconds = route.reply_within.map_or(0, |time| time.as_secs());
    pb::Route {
        rule: route.rule,
        queue: route.queue,
        priority: route.priority.into(),
        reply_within_s: u32::try_from(seconds).unwrap_or(u32::MAX),
        handling: handling.into(),
        tone: route.tone.unwrap_or_default(),
        why: route.why,
        crisis: route.crisis,
    }
}

/// A string field; the generated code leaves the check to us (see `build.rs`).
fn utf8(field: &'static str, bytes: Vec<u8>) -> Result<String, InvalidMessage> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        InvalidMessage { field, reason: format!("is not valid UTF-8 from byte {at}") }
    })
}

/// The caller's id, as far as it can be given back.
pub(super) fn id(raw: Option<&pb::Message>) -> String {
    raw.filter(|message| message.id.len() <= MAX_ID_BYTES)
        .and_then(|message| std::str::from_utf8(&message.id).ok())
        .unwrap_or_default()
        .to_owned()
}

/// Which of `all` a value of an enum stands for: the wire has them in the domain's order, from 1.
/// Unknown values are none.
pub(super) fn one_of<T: Copy>(all: &[T], value: i32) -> Option<T> {
    let index = usize::try_from(value).ok()?.checked_sub(1)?;
    all.get(index).copied()
}

/// The channel that a client names.
pub(super) fn channel(value: i32) -> Option<Channel> {
    one_of(&Channel::ALL, value)
}

/// The number by which the wire has a channel.
pub(super) fn channel_number(channel: Channel) -> i32 {
    channel as i32 + 1
}

/// The intent that a client names.
pub(super) fn named_intent(value: i32) -> Option<Intent> {
    one_of(&Intent::ALL, value)
}

/// The sentiment that a client names.
pub(super) fn named_sentiment(value: i32) -> Option<Sentiment> {
    one_of(&Sentiment::ALL, value)
}

fn intent(intent: Intent) -> pb::Intent {
    match intent {
        Intent::Question => pb::Intent::Question,
        Intent::Complaint => pb::Intent::Complaint,
        Intent::Compliment => pb::Intent::Compliment,
        Intent::FactualError => pb::Intent::FactualError,
    }
}

fn sentiment(sentiment: Sentiment) -> pb::Sentiment {
    match sentiment {
        Sentiment::Negative => pb::Sentiment::Negative,
        Sentiment::Neutral => pb::Sentiment::Neutral,
        Sentiment::Positive => pb::Sentiment::Positive,
    }
}

fn model_id(id: &ModelId) -> pb::ModelId {
    pb::ModelId { version: id.version.clone(), digest: id.digest.clone() }
}

/// The lane that a request asks for; `otherwise` where it asks for none, or one that there is not.
pub(super) fn lane(raw: i32, otherwise: Lane) -> Lane {
    match pb::Lane::try_from(raw) {
        Ok(pb::Lane::Interactive) => Lane::Interactive,
        Ok(pb::Lane::Bulk) => Lane::Bulk,
        Ok(pb::Lane::Unspecified) | Err(_) => otherwise,
    }
}

/// The label that is to be explained.
pub(super) fn label(raw: Option<pb::explain_request::Label>) -> Result<Label, RpcError> {
    use pb::explain_request::Label as Raw;

    let found = match raw {
        Some(Raw::Intent(value)) => named_intent(value).map(Label::Intent),
        Some(Raw::Sentiment(value)) => named_sentiment(value).map(Label::Sentiment),
        Some(Raw::Urgent(true)) => Some(Label::Urgent),
        Some(Raw::Urgent(false)) | None => None,
    };
    found.ok_or(RpcError::Field("label", "names no label that there is"))
}

/// What goes back to the caller that sent `id` to be explained.
pub(super) fn explanation(id: String, explanation: &Explanation) -> pb::ExplainResponse {
    let bytes = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let word = |part: &Part| pb::WordWeight {
        start: bytes(part.range.start),
        end: bytes(part.range.end),
        weight: part.weight,
    };
    let verdict = Some(verdict(id, &explanation.verdict, None));
    pb::ExplainResponse { verdict, words: explanation.parts.iter().map(word).collect() }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What goes back to the caller that sent `id`.
pub(super) fn verdict(
    id: String,
    verdict: &Verdict,
    provenance: Option<Provenance>,
) -> pb::Verdict {
    let Provenance { spans, quoted } = provenance.unwrap_or_default();
    let [negative, neutral, positive] = verdict.sentiment_probabilities;
    let intents = Intent::ALL
        .into_iter()
        .map(|each| {
            let judgement = verdict.intent(each);
            pb::IntentVerdict {
                intent: intent(each).into(),
                probability: judgement.probability,
                holds: judgement.holds,
            }
        })
        .collect();
    pb::Verdict {
        route: None,
        id,
        intents,
        primary_intent: verdict.primary.map_or(pb::Intent::None, intent).into(),
        urgent: Some(pb::Judgement {
            probability: verdict.urgent.probability,
            holds: verdict.urgent.holds,
        }),
        sentiment: Some(pb::SentimentVerdict {
            sentiment: sentiment(verdict.sentiment).into(),
            negative,
            neutral,
            positive,
            score: verdict.sentiment_score(),
        }),
        needs_review: verdict.needs_review,
        language: verdict.language.tag().to_owned(),
        tokens_read: verdict.tokens_read,
        truncated: verdict.truncated,
        context_read: verdict.context_read,
        model: Some(model_id(&verdict.model)),
        spans: spans
            .into_iter()
            .map(|span| pb::Span {
                start: narrow(span.range.start),
                end: narrow(span.range.end),
                intent: intent(span.intent).into(),
                probability: span.probability,
            })
            .collect(),
        quoted: quoted
            .into_iter()
            .map(|range| pb::TextRange { start: narrow(range.start), end: narrow(range.end) })
            .collect(),
    }
}

/// What GetModel tells of the model.
pub(super) fn model(info: &ModelInfo) -> pb::Model {
    let thresholds = Intent::ALL.into_iter().zip(info.intent_thresholds);
    pb::Model {
        id: Some(model_id(&info.id)),
        name: info.name.clone(),
        languages: info.languages.clone(),
        max_tokens: info.max_tokens.try_into().unwrap_or(u32::MAX),
        intent_thresholds: thresholds
            .map(|(each, threshold)| {
                let by_language = info.thresholds_by_language.iter();
                let of = |(tag, all): &(&str, [f32; 4])| ((*tag).to_owned(), all[each as usize]);
                let by_language = by_language.map(of).collect();
                pb::IntentThreshold { intent: intent(each).into(), threshold, by_language }
            })
            .collect(),
        urgent_threshold: info.urgent_threshold,
        trained_on: info.trained_on.clone(),
    }
}

/// What GetModel tells of the limits.
pub(super) fn limits(config: &ServerConfig) -> pb::Limits {
    pb::Limits {
        max_batch_messages: narrow(MAX_BATCH_MESSAGES),
        max_text_bytes: narrow(MAX_TEXT_BYTES),
        max_id_bytes: narrow(MAX_ID_BYTES),
        max_request_bytes: config.max_request_bytes.try_into().unwrap_or(u64::MAX),
    }
}

/// Reads a request as it came over the wire, and says nothing of it: for tests with bytes that nobody sent.
#[doc(hidden)]
pub fn check_request(bytes: &[u8]) {
    fn status(error: RpcError) {
        drop(tonic::Status::from(error));
    }
    if let Ok(request) = pb::ClassifyRequest::decode(bytes) {
        lane(request.lane, Lane::Bulk);
        message(request.message, Place::Only).map_or_else(status, drop);
    }
    if let Ok(request) = pb::ClassifyBatchRequest::decode(bytes) {
        for (index, each) in request.messages.into_iter().enumerate() {
            id(Some(&each));
            message(Some(each), Place::InBatch(index)).map_or_else(status, drop);
        }
    }
    if let Ok(request) = pb::ExplainRequest::decode(bytes) {
        label(request.label).map_or_else(status, drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_the_wire_are_those_of_the_domain() {
        assert_eq!(one_of(&Channel::ALL, pb::Channel::Unspecified.into()), None);
        for (value, known) in (1..).zip(Channel::ALL) {
            let wire = pb::Channel::try_from(value).unwrap();
            let name = format!("CHANNEL_{}", known.name().to_uppercase());
            assert_eq!(wire.as_str_name(), name);
            assert_eq!(channel(value), Some(known));
            assert_eq!(channel_number(known), value);
        }
        let one_more = i32::try_from(Channel::ALL.len()).unwrap() + 1;
        assert!(pb::Channel::try_from(one_more).is_err(), "a channel the domain does not have");
        for unknown in [one_more, 4_711, -1, i32::MIN, i32::MAX] {
            assert_eq!(one_of(&Channel::ALL, unknown), None);
        }
    }

    #[test]
    fn labels_of_the_wire_are_those_of_the_domain() {
        for each in Intent::ALL {
            let name = format!("INTENT_{}", each.name().to_uppercase());
            assert_eq!(intent(each).as_str_name(), name);
        }
        for each in Sentiment::ALL {
            let name = format!("SENTIMENT_{}", each.name().to_uppercase());
            assert_eq!(sentiment(each).as_str_name(), name);
        }
    }

    #[test]
    fn every_field_of_a_message_is_taken_over() {
        let raw = pb::Message {
            tags: Vec::new(),
            id: b"7".to_vec(),
            text: "Hoe laat gaan jullie open?".into(),
            context: b"We zijn weer open".to_vec(),
            channel: pb::Channel::Forum.into(),
            language_hint: b"nl-BE".to_vec(),
        };
        let message = message(Some(raw), Place::Only).unwrap();
        assert_eq!(message.id(), "7");
        assert_eq!(message.text(), "Hoe laat gaan jullie open?");
        assert_eq!(message.context(), Some("We zijn weer open"));
        assert_eq!(message.channel(), Some(Channel::Forum));
        assert_eq!(message.language_hint(), Some(Language::Dutch));
    }

    #[test]
    fn bad_utf8_is_refused_field_by_field_without_quoting() {
        let bad = || b"ok\xff".to_vec();
        let good = || pb::Message { text: b"hello".to_vec(), ..Default::default() };
        let cases = [
            ("id", pb::Message { id: bad(), ..good() }),
            ("text", pb::Message { text: bad(), ..good() }),
            ("context", pb::Message { context: bad(), ..good() }),
            ("language_hint", pb::Message { language_hint: bad(), ..good() }),
        ];
        for (field, raw) in cases {
            let invalid = checked(raw).unwrap_err();
            let reason = "is not valid UTF-8 from byte 2".to_owned();
            assert_eq!(invalid, InvalidMessage { field, reason });
        }
    }
}
