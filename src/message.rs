//! The domain: what a customer message is and what we say about it.
//!
//! Labels are defined by the project's label guideline (summarised on each variant). This module
//! depends on nothing else in the crate; every other layer speaks in these types.

mod verdict;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use verdict::doubt_of;

/// Longest accepted `text` or `context`, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 32 * 1024;
/// Longest accepted caller's id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 256;

/// What a message is. Several may hold at once, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// The sender wants an answer, information, help or an action, and expects a reply.
    Question,
    /// Dissatisfaction: an expectation was not met, whether or not redress is asked.
    Complaint,
    /// Praise, thanks or satisfaction meant for the organisation, its people, product or service.
    Compliment,
    /// Incorrect information is at stake: reported as wrong, or a rumour stated as fact.
    FactualError,
}

impl Intent {
    /// All intents, in the order of the model's logits.
    pub const ALL: [Intent; 4] =
        [Intent::Question, Intent::Complaint, Intent::Compliment, Intent::FactualError];

    /// Name as in the data and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Intent::Question => "question",
            Intent::Complaint => "complaint",
            Intent::Compliment => "compliment",
            Intent::FactualError => "factual_error",
        }
    }

    /// Inverse of [`Intent::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|i| i.name() == name)
    }
}

/// How the sender feels, as expressed in the whole message; sarcasm counts as meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sentiment {
    Negative,
    Neutral,
    Positive,
}

impl Sentiment {
    /// All classes, in the order of the model's logits.
    pub const ALL: [Sentiment; 3] = [Sentiment::Negative, Sentiment::Neutral, Sentiment::Positive];

    /// Name as in the data and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Sentiment::Negative => "negative",
            Sentiment::Neutral => "neutral",
            Sentiment::Positive => "positive",
        }
    }

    /// Inverse of [`Sentiment::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// Where a message was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Twitter,
    Facebook,
    Instagram,
    Whatsapp,
    Chat,
    Email,
    Review,
    Forum,
    NewsComment,
    Form,
}

impl Channel {
    /// All channels, in the order of the wire enum (from 1).
    pub const ALL: [Channel; 10] = [
        Channel::Twitter,
        Channel::Facebook,
        Channel::Instagram,
        Channel::Whatsapp,
        Channel::Chat,
        Channel::Email,
        Channel::Review,
        Channel::Forum,
        Channel::NewsComment,
        Channel::Form,
    ];

    /// Name as in the data and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Twitter => "twitter",
            Channel::Facebook => "facebook",
            Channel::Instagram => "instagram",
            Channel::Whatsapp => "whatsapp",
            Channel::Chat => "chat",
            Channel::Email => "email",
            Channel::Review => "review",
            Channel::Forum => "forum",
            Channel::NewsComment => "news_comment",
            Channel::Form => "form",
        }
    }

    /// Inverse of [`Channel::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// A language that the service tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    Dutch,
    English,
    /// Another one, by its BCP 47 primary subtag.
    Other(&'static str),
    /// Not to be told from so little text.
    Undetermined,
}

impl Language {
    /// BCP 47 primary subtag; `und` where undetermined.
    pub fn tag(self) -> &'static str {
        match self {
            Language::Dutch => "nl",
            Language::English => "en",
            Language::Other(tag) => tag,
            Language::Undetermined => "und",
        }
    }

    /// Reads a BCP 47 tag (`nl`, `nl-BE`, `en-GB`, any case). Tags of other languages are
    /// [`Language::Undetermined`]: a hint is only a hint, so nothing is refused for it.
    pub fn from_tag(tag: &str) -> Self {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        match primary.to_ascii_lowercase().as_str() {
            "nl" | "vls" | "nld" | "dut" => Language::Dutch,
            "en" | "eng" => Language::English,
            _ => Language::Undetermined,
        }
    }
}

/// Why a message is refused. Names the field and the reason, never the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidMessage {
    /// Field of the message (`id`, `text`, `context`), as the wire contract spells it.
    pub field: &'static str,
    /// What is wrong with it, without quoting it.
    pub reason: String,
}

/// One customer message, valid by construction.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    id: String,
    text: String,
    context: Option<String>,
    channel: Option<Channel>,
    language_hint: Option<Language>,
}

impl Message {
    /// Checks and takes a message.
    ///
    /// # Errors
    /// [`InvalidMessage`] where `text` holds nothing but white space, or `id`, `text` or `context`
    /// is longer than [`MAX_ID_BYTES`] or [`MAX_TEXT_BYTES`].
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Result<Self, InvalidMessage> {
        let (id, text) = (id.into(), text.into());
        at_most("id", &id, MAX_ID_BYTES)?;
        at_most("text", &text, MAX_TEXT_BYTES)?;
        if text.trim().is_empty() {
            return Err(InvalidMessage { field: "text", reason: "is empty".into() });
        }
        Ok(Message { id, text, context: None, channel: None, language_hint: None })
    }

    /// The same message with another text.
    ///
    /// # Errors
    /// As [`Message::new`].
    pub fn with_text(self, text: impl Into<String>) -> Result<Self, InvalidMessage> {
        let Message { text, .. } = Message::new("", text)?;
        Ok(Message { text, ..self })
    }

    /// Adds the post that this message replies to. Blank context is no context.
    ///
    /// # Errors
    /// [`InvalidMessage`] where it is longer than [`MAX_TEXT_BYTES`].
    pub fn with_context(mut self, context: impl Into<String>) -> Result<Self, InvalidMessage> {
        let context = context.into();
        at_most("context", &context, MAX_TEXT_BYTES)?;
        self.context = Some(context).filter(|c| !c.trim().is_empty());
        Ok(self)
    }

    /// Adds the channel it came by.
    pub fn with_channel(mut self, channel: Option<Channel>) -> Self {
        self.channel = channel;
        self
    }

    /// Adds the language that the caller believes it is in.
    pub fn with_language_hint(mut self, hint: Option<Language>) -> Self {
        self.language_hint = hint;
        self
    }

    /// The caller's id; may be empty.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text as the person typed it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The post that this message replies to.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The channel it came by.
    pub fn channel(&self) -> Option<Channel> {
        self.channel
    }

    /// The language that the caller believes it is in.
    pub fn language_hint(&self) -> Option<Language> {
        self.language_hint
    }
}

/// Shows sizes only: message text must not reach logs by way of `{:?}`.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("text_bytes", &self.text.len())
            .field("context_bytes", &self.context.as_ref().map(String::len))
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

fn at_most(field: &'static str, value: &str, limit: usize) -> Result<(), InvalidMessage> {
    if value.len() > limit {
        let reason = format!("is {} bytes long; the limit is {limit}", value.len());
        return Err(InvalidMessage { field, reason });
    }
    Ok(())
}

/// Which model made a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelId {
    /// Version of the model, as its manifest has it.
    pub version: String,
    /// SHA-256 over the manifest, hex; the manifest in turn names the digest of every file and
    /// carries the thresholds, so this one value stands for weights + thresholds.
    pub digest: String,
}

/// A yes/no label with its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Calibrated probability that the label holds, in [0, 1].
    pub probability: f32,
    /// Whether it is at or above the label's threshold.
    pub holds: bool,
}

/// A sentence that carries one of the intents that hold for the whole message.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Where it stands in the text as sent, in bytes, without the white space around it.
    pub range: Range<usize>,
    /// What it carries.
    pub intent: Intent,
    /// Probability of that intent for the sentence read by itself.
    pub probability: f32,
}

/// How common each label is among some messages: shares in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prevalence {
    /// In the order of [`Intent::ALL`].
    pub intents: [f64; 4],
    /// In the order of [`Sentiment::ALL`].
    pub sentiment: [f64; 3],
}

/// Where a verdict comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// In the order of the text, then of [`Intent::ALL`].
    pub spans: Vec<Span>,
    /// Quotations and signatures, which had no say; in order, in bytes of the text as sent.
    pub quoted: Vec<Range<usize>>,
}

/// What the model says of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// By intent, in the order of [`Intent::ALL`].
    pub intents: [Judgement; 4],
    /// The most probable of the intents that hold; `None` where none holds.
    pub primary: Option<Intent>,
    /// Whether a person must look now.
    pub urgent: Judgement,
    /// The most probable sentiment.
    pub sentiment: Sentiment,
    /// Probabilities in the order of [`Sentiment::ALL`]; they sum to 1.
    pub sentiment_probabilities: [f32; 3],
    /// Too doubtful for a machine to decide.
    pub needs_review: bool,
    /// Detected language.
    pub language: Language,
    /// Tokens of the text that the model read, each counted once, and two sentence marks.
    pub tokens_read: u32,
    /// The text was longer than what is read; its end had no say.
    pub truncated: bool,
    /// The request's context had a say. Always false for a model not trained with context.
    pub context_read: bool,
    /// The model that made this verdict.
    pub model: Arc<ModelId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_blank_and_over_long_text_naming_the_field() {
        let blank = Message::new("1", " \n\t").unwrap_err();
        assert_eq!((blank.field, blank.reason.as_str()), ("text", "is empty"));
        let long = Message::new("1", "x".repeat(MAX_TEXT_BYTES + 1)).unwrap_err();
        assert_eq!(long.to_string(), "text: is 32769 bytes long; the limit is 32768");
        assert!(Message::new("1", "x".repeat(MAX_TEXT_BYTES)).is_ok());
        let id = Message::new("i".repeat(MAX_ID_BYTES + 1), "x").unwrap_err();
        assert_eq!(id.field, "id");
    }

    #[test]
    fn debug_never_shows_text() {
        let message = Message::new("id", "canary").unwrap().with_context("kanarie").unwrap();
        let shown = format!("{message:?}");
        assert!(!shown.contains("canary") && !shown.contains("kanarie"), "{shown}");
    }

    #[test]
    fn names_round_trip() {
        for intent in Intent::ALL {
            assert_eq!(Intent::from_name(intent.name()), Some(intent));
        }
        for sentiment in Sentiment::ALL {
            assert_eq!(Sentiment::from_name(sentiment.name()), Some(sentiment));
        }
        for channel in Channel::ALL {
            assert_eq!(Channel::from_name(channel.name()), Some(channel));
        }
        assert_eq!(Language::from_tag("nl-BE"), Language::Dutch);
        assert_eq!(Language::from_tag("EN_gb"), Language::English);
        assert_eq!(Language::from_tag("tr"), Language::Undetermined);
    }
}
