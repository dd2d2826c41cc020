//! What is counted of a group of messages, and the figures that are made of it. May depend on `message` and on the
//! rest of `kpi`.

use super::adjust::Spread;
use super::sketch::Sketch;
use super::stats::{Interval, net_sentiment};
use super::{Entry, Labels};
use crate::message::Prevalence;

/// Counts of a group of messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub messages: u64,
    /// Messages with each intent, in the order of [`crate::message::Intent::ALL`].
    pub intents: [u64; 4],
    /// In the order of [`crate::message::Sentiment::ALL`].
    pub sentiments: [u64; 3],
    pub urgent: u64,
    pub needs_review: u64,
    /// Questions and complaints, a message that is both once.
    pub answerable: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// From reception to answer, of all that was answered.
    pub response: Sketch,
    /// Probabilities, where there are any: the intents, then negative and positive.
    spreads: Option<Box<[Spread; 6]>>,
}

impl Counts {
    /// Counts one message.
    pub fn add(&mut self, entry: &Entry) {
        let Labels { intents, sentiment, urgent, needs_review, probabilities } = entry.labels;
        self.messages += 1;
        for (count, holds) in self.intents.iter_mut().zip(intents) {
            *count += u64::from(holds);
        }
        self.sentiments[sentiment as usize] += 1;
        self.urgent += u64::from(urgent);
        self.needs_review += u64::from(needs_review);
        if entry.labels.answerable() {
            self.answerable += 1;
            self.answered += u64::from(entry.answered_at.is_some());
        }
        if let (Some(received), Some(answered)) = (entry.received_at, entry.answered_at) {
            self.response.add(answered.duration_since(received).as_secs_f64());
        }
        if let Some(p) = probabilities {
            let [negative, _, positive] = p.sentiment;
            let spreads = self.spreads.get_or_insert_default();
            let all = p.intents.into_iter().chain([negative, positive]);
            spreads.iter_mut().zip(all).for_each(|(spread, p)| spread.add(p));
        }
    }

    /// Counts all of another group.
    pub fn merge(&mut self, other: &Counts) {
        let add = |ours: &mut [u64], theirs: &[u64]| {
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
        };
        add(&mut self.intents, &other.intents);
        add(&mut self.sentiments, &other.sentiments);
        self.messages += other.messages;
        self.urgent += other.urgent;
        self.needs_review += other.needs_review;
        self.answerable += other.answerable;
        self.answered += other.answered;
        self.response.merge(&other.response);
        if let Some(theirs) = &other.spreads {
            let ours = self.spreads.get_or_insert_default();
            ours.iter_mut().zip(theirs.iter()).for_each(|(ours, theirs)| ours.merge(theirs));
        }
    }

    /// (Positive - negative) / all, with its interval.
    pub fn net(&self) -> Option<Interval> {
        let [negative, _, positive] = self.sentiments;
        net_sentiment(positive, negative, self.messages)
    }

    /// Counts corrected for the model's known errors, from how common the labels were where its probabilities were
    /// calibrated. `None` of few messages, or of messages of which some
    /// have no probabilities.
    pub fn adjusted(&self, priors: &Prevalence) -> Option<Adjusted> {
        let spreads = self.spreads.as_ref().filter(|all| all[0].count() == self.messages)?;
        let [negative_prior, _, positive_prior] = priors.sentiment;
        let all = priors.intents.into_iter().chain([negative_prior, positive_prior]);
        let mut found = spreads.iter().zip(all).map(|(spread, prior)| spread.estimate(prior));
        let mut next = || found.next().flatten();
        Some(Adjusted {
            questions: next()?,
            complaints: next()?,
            compliments: next()?,
            factual_errors: next()?,
            negative: next()?,
            positive: next()?,
        })
    }

    /// All figures; `answers_known` says whether anything is known of answers at all.
    pub fn figures(&self, priors: Option<&Prevalence>, answers_known: bool) -> Figures {
        let [questions, complaints, compliments, factual_errors] = self.intents;
        let [negative, neutral, positive] = self.sentiments;
        let share = self.answered as f64 / self.answerable as f64;
        Figures {
            messages: self.messages,
            questions,
            complaints,
            compliments,
            factual_errors,
            urgent: self.urgent,
            needs_review: self.needs_review,
            negative,
            neutral,
            positive,
            net: self.net(),
            answerable: self.answerable,
            answered: answers_known.then_some(self.answered),
            answered_share: (answers_known && self.answerable > 0).then_some(share),
            response_p50_s: self.response.quantile(0.5),
            response_p90_s: self.response.quantile(0.9),
            adjusted: priors.and_then(|priors| self.adjusted(priors)),
        }
    }
}

/// Counts corrected for the model's known errors; not whole numbers, since they are estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Adjusted {
    pub questions: f64,
    pub complaints: f64,
    pub compliments: f64,
    pub factual_errors: f64,
    pub negative: f64,
    pub positive: f64,
}

/// The figures of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub messages: u64,
    pub questions: u64,
    pub complaints: u64,
    pub compliments: u64,
    pub factual_errors: u64,
    pub urgent: u64,
    pub needs_review: u64,
    pub negative: u64,
    pub neutral: u64,
    pub positive: u64,
    /// Net sentiment in [-1, 1]; `None` of no messages.
    pub net: Option<Interval>,
    /// Questions and complaints.
    pub answerable: u64,
    /// Those of them that were answered; `None` where nothing is known of answers.
    pub answered: Option<u64>,
    pub answered_share: Option<f64>,
    /// Median time to an answer, in seconds, to within 1%.
    pub response_p50_s: Option<f64>,
    /// The time within which nine in ten answers came.
    pub response_p90_s: Option<f64>,
    pub adjusted: Option<Adjusted>,
}
