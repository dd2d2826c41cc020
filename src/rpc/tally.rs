//! Counts the labels that are given out, for the dashboards of whoever counts messages.
//!
//! Only what was asked for counts: not the readings that an explanation takes. Values are names of ours, a
//! bounded number of them, never a client's words. Depends on the domain, `crate::kpi` and
//! the lanes.

use jiff::Timestamp;
use metrics::counter;

use crate::batch::lane::Lane;
use crate::kpi::sentinel::Sentinel;
use crate::message::{Channel, Intent, Language, Sentiment, Verdict};

/// Counts verdicts, and has them watched for a crisis.
#[derive(Clone, Default)]
pub(super) struct Tally(pub Option<Sentinel>);

impl Tally {
    /// Counts one verdict on a message from `channel`. Only what somebody waits for is taken for news: bulk may be last
    /// year's messages.
    pub(super) fn count(&self, verdict: &Verdict, channel: Option<Channel>, lane: Lane) {
        count(verdict, channel);
        if let (Some(sentinel), Lane::Interactive) = (&self.0, lane) {
            let complaint = verdict.intent(Intent::Complaint).holds;
            let negative = verdict.sentiment == Sentiment::Negative;
            sentinel.count(Timestamp::now(), complaint, negative);
        }
    }
}

fn count(verdict: &Verdict, channel: Option<Channel>) {
    let channel = channel.map_or("unspecified", Channel::name);
    let language = match verdict.language {
        Language::Other(_) => "other",
        known => known.tag(),
    };
    let review = if verdict.needs_review { "true" } else { "false" };
    let sentiment = verdict.sentiment.name();
    counter!(
        "klankbord_messages_total",
        "channel" => channel, "language" => language, "sentiment" => sentiment, "needs_review" => review
    )
    .increment(1);
    let intents = Intent::ALL.into_iter().filter(|intent| verdict.intent(*intent).holds);
    let none = verdict.primary.is_none().then_some("none");
    for intent in intents.map(Intent::name).chain(none) {
        counter!(
            "klankbord_intents_total",
            "intent" => intent, "channel" => channel, "language" => language
        )
        .increment(1);
    }
    if verdict.urgent.holds {
        counter!("klankbord_urgent_total", "channel" => channel).increment(1);
    }
}
