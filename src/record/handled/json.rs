//! One JSON object a line, as `classify` writes it or as people write labels down.
//!
//! A million of them are read for a yearly report, so serde takes them apart without a tree in between. Its
//! errors may quote a message: they are not shown, and the object is looked through again to say what is wrong.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::json_lines::object;
use super::super::{channel, full_set, intent, sentiment};
use super::{Handled, PROBABILITIES, Said, When, parts, probability};
use crate::message::{Intent, Language};

type Text<'a> = Option<Cow<'a, str>>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Row<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    context: Text<'a>,
    #[serde(borrow)]
    lang: Text<'a>,
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    brand: Text<'a>,
    #[serde(borrow)]
    received_at: Option<Id<'a>>,
    #[serde(borrow)]
    answered_at: Option<Id<'a>>,
    #[serde(borrow)]
    intents: Option<Intents<'a>>,
    #[serde(borrow)]
    sentiment: Option<Feeling<'a>>,
    urgent: Option<Flag>,
    needs_review: Option<bool>,
}

/// A word or a number.
struct Id<'a>(Cow<'a, str>);

/// A yes or no, with or without a probability.
struct Flag(bool);

/// Names of the intents that hold, or a judgement on each.
enum Intents<'a> {
    Named(Vec<Cow<'a, str>>),
    Judged([Option<(bool, f32)>; 4]),
}

/// A name, with or without probabilities.
struct Feeling<'a>(Cow<'a, str>, Option<[f32; 3]>);

#[derive(Deserialize)]
struct Judged {
    probability: f32,
    holds: bool,
}

#[derive(Deserialize)]
struct Felt {
    negative: f32,
    neutral: f32,
    positive: f32,
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Id<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or a number")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Id<'de>, E> {
                Ok(Id(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Id<'de>, E> {
                Ok(Id(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Id<'de>, E> {
                Ok(Id(Cow::Owned(number.to_string())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Id<'de>, E> {
                Ok(Id(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("true, false or a judgement")
            }

            fn visit_bool<E>(self, holds: bool) -> Result<Flag, E> {
                Ok(Flag(holds))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Flag, A::Error> {
                let judged =
                    Judged::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Flag(judged.holds))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Intents<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Intents<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of names or a judgement on each")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Intents<'de>, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Intents::Named(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Intents<'de>, A::Error> {
                let mut all = [None; 4];
                while let Some(name) = map.next_key::<Cow<str>>()? {
                    match Intent::from_name(&name) {
                        Some(intent) => {
                            let Judged { probability, holds } = map.next_value()?;
                            all[intent as usize] = Some((holds, probability));
                        }
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Intents::Judged(all))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Feeling<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Feeling<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a name or a judgement")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Feeling<'de>, E> {
                Ok(Feeling(Cow::Borrowed(name), None))
            }

            fn visit_str<E>(self, name: &str) -> Result<Feeling<'de>, E> {
                Ok(Feeling(Cow::Owned(name.to_owned()), None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Feeling<'de>, A::Error> {
                let (mut label, mut felt) = (None, None::<Felt>);
                while let Some(name) = map.next_key::<Cow<str>>()? {
                    match &*name {
                        "label" => label = Some(map.next_value()?),
                        "probabilities" => felt = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let label = label.ok_or_else(|| serde::de::Error::missing_field("label"))?;
                let felt =
                    felt.map(|Felt { negative, neutral, positive }| [negative, neutral, positive]);
                Ok(Feeling(label, felt))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

/// A message as it was handled.
pub(super) fn handled(bytes: &[u8]) -> Result<Handled, String> {
    let row: Row = serde_json::from_slice(bytes).map_err(|_| fault(bytes))?;
    let said = said(&row)?;
    let filled = |text: &Cow<str>| !text.trim().is_empty();
    let when =
        |at: Option<Id>| at.map(|id| id.0).filter(filled).map(|t| When::Text(t.into_owned()));
    Handled {
        id: row.id.map(|id| id.0.into_owned()).unwrap_or_default(),
        text: row.text.map(Cow::into_owned),
        context: row.context.map(Cow::into_owned),
        lang: row.lang.filter(filled).map(|tag| Language::from_tag(tag.trim())),
        channel: row.channel.filter(filled).map(|name| channel(&name)).transpose()?,
        brand: row.brand.filter(filled).map(|brand| brand.trim().to_owned()),
        received_at: when(row.received_at),
        answered_at: when(row.answered_at),
        said,
    }
    .checked()
}

fn said(row: &Row) -> Result<Option<Said>, String> {
    let (Some(intents), Some(Feeling(feeling, felt))) = (&row.intents, &row.sentiment) else {
        return Ok(None);
    };
    let (intents, sure) = match intents {
        Intents::Named(names) => {
            let holding = names.iter().map(|name| intent("intents", name));
            let holding = holding.collect::<Result<Vec<_>, _>>()?;
            (full_set(&holding).map(|holds| holds == Some(true)), None)
        }
        Intents::Judged([Some(a), Some(b), Some(c), Some(d)]) => {
            ([a.0, b.0, c.0, d.0], Some([a.1, b.1, c.1, d.1]))
        }
        Intents::Judged(_) => return Err("intents: lacks one of the four".into()),
    };
    let probabilities = match (sure, felt) {
        (Some([a, b, c, d]), Some([e, f, g])) => {
            let all = [a, b, c, d, *e, *f, *g];
            for (name, p) in PROBABILITIES.iter().zip(all) {
                probability(name, Some(p))?;
            }
            Some(parts(all))
        }
        _ => None,
    };
    Ok(Some(Said {
        intents,
        sentiment: sentiment(feeling)?,
        urgent: row.urgent.as_ref().is_some_and(|flag| flag.0),
        needs_review: row.needs_review.unwrap_or(false),
        probabilities,
    }))
}

/// What is wrong with a line, without quoting it.
fn fault(bytes: &[u8]) -> String {
    let object = match object(bytes) {
        Ok(object) => object,
        Err(reason) => return reason,
    };
    let wrong = |(name, value): (&String, &Value)| {
        let (fits, what) = match name.as_str() {
            "text" | "context" | "lang" | "channel" | "brand" => (value.is_string(), "a string"),
            "id" | "received_at" | "answered_at" => (
                value.is_string() || value.is_i64() || value.is_u64(),
                "a string or a whole number",
            ),
            "needs_review" => (value.is_boolean(), "true or false"),
            "urgent" => (value.is_boolean(), "true, false or a judgement"),
            "intents" => (false, "a list of names or a judgement on each"),
            "sentiment" => (value.is_string(), "a name or a judgement"),
            _ => return None,
        };
        (!fits && !value.is_null()).then(|| format!("{name}: is not {what}"))
    };
    object.iter().find_map(wrong).unwrap_or_else(|| "a field is given twice".into())
}
