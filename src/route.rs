//! Routing policy: what is to be done with a message, by rules over its verdict, in the order of a file.
//!
//! The first rule that fits holds; the last has no conditions and always fits. A policy is checked whole when it is
//! read. May depend on the domain and `toml`.

mod cover;
mod read;
mod router;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::message::{Channel, Intent, Sentiment, Verdict};

pub use read::{PolicyError, PolicyProblem};
pub use router::{CrisisMode, CrisisState, Route, Router};

/// Who does the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handling {
    /// A person.
    #[default]
    Human,
    /// A machine may answer, or nobody does.
    Auto,
}

impl Handling {
    /// Name as in the file.
    pub fn name(self) -> &'static str {
        match self {
            Handling::Human => "human",
            Handling::Auto => "auto",
        }
    }
}

/// A probability of a verdict that a rule may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// By place in [`Intent::ALL`].
    Intent(usize),
    /// By place in [`Sentiment::ALL`].
    Sentiment(usize),
    Urgent,
}

impl Quantity {
    /// By its name in the file.
    pub fn from_name(name: &str) -> Option<Self> {
        let intent = Intent::ALL.iter().position(|intent| intent.name() == name);
        let sentiment = Sentiment::ALL.iter().position(|sentiment| sentiment.name() == name);
        let urgent = (name == "urgent").then_some(Quantity::Urgent);
        intent.map(Quantity::Intent).or(sentiment.map(Quantity::Sentiment)).or(urgent)
    }

    /// Name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Intent(at) => Intent::ALL[at].name(),
            Quantity::Sentiment(at) => Sentiment::ALL[at].name(),
            Quantity::Urgent => "urgent",
        }
    }

    fn of(self, verdict: &Verdict) -> f32 {
        match self {
            Quantity::Intent(at) => verdict.intents[at].probability,
            Quantity::Sentiment(at) => verdict.sentiment_probabilities[at],
            Quantity::Urgent => verdict.urgent.probability,
        }
    }
}

/// What must be so for a rule to fit; all of it. What is empty or `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// One of these intents holds.
    pub any: Vec<Intent>,
    /// All of these hold.
    pub all: Vec<Intent>,
    /// None of these holds.
    pub none: Vec<Intent>,
    pub sentiment: Vec<Sentiment>,
    pub channel: Vec<Channel>,
    /// BCP 47 primary subtags, as in verdicts.
    pub language: Vec<String>,
    /// The caller gave one of these tags.
    pub tags: Vec<String>,
    pub urgent: Option<bool>,
    pub needs_review: Option<bool>,
    pub crisis: Option<bool>,
    /// Probabilities from which, and below which.
    pub at_least: BTreeMap<Quantity, f32>,
    pub below: BTreeMap<Quantity, f32>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub name: String,
    pub when: Conditions,
    pub queue: String,
    /// 1 is the first to be looked at, 5 the last.
    pub priority: u8,
    /// When the sender is to have a reply.
    pub reply_within: Option<Duration>,
    pub handling: Handling,
    /// For whoever writes the reply.
    pub tone: Option<String>,
    /// Where in the file, from 1.
    pub line: usize,
}

/// From when on so many complaints are a crisis by themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrisisRule {
    /// At least so many complaints...
    pub complaints: usize,
    /// ...in so much time...
    pub within: Duration,
    /// ...and at least this share of all messages.
    pub share: f32,
}

/// A whole policy, right by construction.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Names of queues, and what they are for.
    pub queues: BTreeMap<String, String>,
    pub crisis: Option<CrisisRule>,
    /// At least one; the last fits always.
    pub rules: Vec<Rule>,
}

/// What is known of a message beside its text.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub verdict: &'a Verdict,
    pub channel: Option<Channel>,
    /// The caller's own.
    pub tags: &'a [String],
    /// Whether there is a crisis.
    pub crisis: bool,
}

impl Policy {
    /// The first rule that fits, and its place.
    pub fn route(&self, facts: &Facts<'_>) -> (usize, &Rule) {
        let fits = |(_, rule): &(usize, &Rule)| rule.when.fit(facts);
        let last = self.rules.len() - 1;
        self.rules.iter().enumerate().find(fits).unwrap_or((last, &self.rules[last]))
    }
}

impl Conditions {
    /// Whether they always fit.
    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// Whether all of them are so.
    pub fn fit(&self, facts: &Facts<'_>) -> bool {
        let Facts { verdict, channel, tags, crisis } = *facts;
        let holds = |intent: &Intent| verdict.intent(*intent).holds;
        let is = |wanted: Option<bool>, so: bool| wanted.is_none_or(|wanted| wanted == so);
        (self.any.is_empty() || self.any.iter().any(holds))
            && self.all.iter().all(holds)
            && !self.none.iter().any(holds)
            && (self.sentiment.is_empty() || self.sentiment.contains(&verdict.sentiment))
            && (self.channel.is_empty() || channel.is_some_and(|c| self.channel.contains(&c)))
            && (self.language.is_empty()
                || self.language.iter().any(|l| l == verdict.language.tag()))
            && (self.tags.is_empty() || self.tags.iter().any(|tag| tags.contains(tag)))
            && is(self.urgent, verdict.urgent.holds)
            && is(self.needs_review, verdict.needs_review)
            && is(self.crisis, crisis)
            && self.at_least.iter().all(|(quantity, least)| quantity.of(verdict) >= *least)
            && self.below.iter().all(|(quantity, most)| quantity.of(verdict) < *most)
    }

    /// Why they fit a message, in words: what held, and how probable it was.
    pub fn why(&self, facts: &Facts<'_>) -> String {
        let verdict = facts.verdict;
        let mut why = Vec::new();
        let mut intents: Vec<Intent> = self.any.iter().chain(&self.all).copied().collect();
        intents.retain(|intent| verdict.intent(*intent).holds);
        intents.dedup();
        let said = |name: &str, p: f32| format!("{name} {:.0}%", 100.0 * p);
        for intent in intents {
            why.push(said(intent.name(), verdict.intent(intent).probability));
        }
        for intent in &self.none {
            why.push(format!("no {}", intent.name()));
        }
        if !self.sentiment.is_empty() {
            let most = verdict.sentiment_probabilities[verdict.sentiment as usize];
            why.push(said(verdict.sentiment.name(), most));
        }
        if self.urgent.is_some() {
            let not = if verdict.urgent.holds { "urgent" } else { "not urgent" };
            why.push(said(not, verdict.urgent.probability));
        }
        if let Some(review) = self.needs_review {
            why.push(if review { "needs review" } else { "needs no review" }.to_owned());
        }
        if let Some(crisis) = self.crisis {
            why.push(if crisis { "crisis" } else { "no crisis" }.to_owned());
        }
        if let Some(channel) = facts.channel.filter(|_| !self.channel.is_empty()) {
            why.push(channel.name().to_owned());
        }
        if !self.language.is_empty() {
            why.push(verdict.language.tag().to_owned());
        }
        for (quantity, least) in &self.at_least {
            why.push(format!("{} at least {least}", said(quantity.name(), quantity.of(verdict))));
        }
        for (quantity, most) in &self.below {
            why.push(format!("{} below {most}", said(quantity.name(), quantity.of(verdict))));
        }
        if !self.tags.is_empty() {
            why.push("a tag of the caller's".to_owned());
        }
        if why.is_empty() { "no other rule fits".to_owned() } else { why.join(", ") }
    }
}
