//! One JSON object a line.
//!
//! Fields are taken out of the object by hand: the errors that serde makes of a wrong type quote
//! the value, which may be a person's message. May depend on `message` and this module's parent.

use std::io;

use serde_json::{Map, Value};

use super::lines::{Lines, MAX_LINE_BYTES, Step};
use super::{LabelledRecord, Next, channel, full_set, intent, sentiment};
use crate::message::{Intent, Language};

pub(super) struct JsonLines<T> {
    lines: Lines,
    frame: Vec<u8>,
    /// What one object says.
    parse: fn(&[u8]) -> Result<T, String>,
}

impl<T> JsonLines<T> {
    pub(super) fn new(lines: Lines, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        JsonLines { lines, frame: Vec::new(), parse }
    }

    pub(super) fn line(&self) -> u64 {
        self.lines.line()
    }

    pub(super) fn next(&mut self) -> io::Result<Next<T>> {
        loop {
            self.frame.clear();
            let step = self.lines.read_into(&mut self.frame)?;
            let line = self.lines.line();
            return Ok(match step {
                Step::End => Next::End,
                Step::TooLong => Next::Bad(line, format!("longer than {MAX_LINE_BYTES} bytes")),
                Step::Line if self.frame.trim_ascii().is_empty() => continue,
                Step::Line => match (self.parse)(self.frame.trim_ascii()) {
                    Ok(record) => Next::Record(line, record),
                    Err(reason) => Next::Bad(line, reason),
                },
            });
        }
    }
}

/// A labelled record.
pub(super) fn labelled(bytes: &[u8]) -> Result<Box<LabelledRecord>, String> {
    let object = &mut object(bytes)?;
    // Ids and times are often numbers in exports; there is no harm in those.
    let id = word(object, "id")?.unwrap_or_default();
    let text = string(object, "text")?.ok_or("text: is missing")?;
    let lang = string(object, "lang")?.filter(|tag| !tag.trim().is_empty());
    Ok(Box::new(LabelledRecord {
        context: string(object, "context")?,
        lang: lang.map(|tag| Language::from_tag(tag.trim())),
        channel: string(object, "channel")?.map(|name| channel(&name)).transpose()?,
        sector: string(object, "sector")?,
        intents: intents(object)?,
        sentiment: string(object, "sentiment")?.map(|name| sentiment(&name)).transpose()?,
        urgent: boolean(object, "urgent")?,
        sure: boolean(object, "sure")?.unwrap_or(true),
        origin: string(object, "origin")?,
        // Only passed on: what cannot be is no reason to refuse the message.
        received_at: word(object, "received_at").ok().flatten(),
        answered_at: word(object, "answered_at").ok().flatten(),
        brand: string(object, "brand").ok().flatten(),
        ..LabelledRecord::unlabelled(id, text)
    }))
}

/// The object on a line.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("not valid UTF-8 at byte {}", e.valid_up_to() + 1))?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        // Syntax errors have fixed wording; only "line 1", which is not the file's, must go.
        let full = error.to_string();
        let what = full.split(" at line ").next().unwrap_or_default();
        format!("not valid JSON at column {}: {what}", error.column())
    })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err("not a JSON object".into()),
    }
}

fn word(object: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.get(key) {
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        _ => string(object, key),
    }
}

pub(super) fn string(object: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(_) => Err(format!("{key}: is not a string")),
    }
}

pub(super) fn boolean(object: &mut Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(_) => Err(format!("{key}: is neither true nor false")),
    }
}

pub(super) fn intent_list(
    object: &mut Map<String, Value>,
    key: &str,
) -> Result<Option<Vec<Intent>>, String> {
    let not_names = || format!("{key}: is not a list of names");
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| intent(key, value.as_str().ok_or_else(not_names)?))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(not_names()),
    }
}

/// `intents` is the full set; `intents_some` and `not` leave what neither names unknown.
fn intents(object: &mut Map<String, Value>) -> Result<[Option<bool>; 4], String> {
    let full = intent_list(object, "intents")?;
    let some = intent_list(object, "intents_some")?;
    let not = intent_list(object, "not")?;
    if let Some(full) = full {
        if some.is_some() || not.is_some() {
            return Err("intents: given together with intents_some or not".into());
        }
        return Ok(full_set(&full));
    }
    let (some, not) = (some.unwrap_or_default(), not.unwrap_or_default());
    if let Some(both) = some.iter().find(|intent| not.contains(intent)) {
        return Err(format!("not: `{}` is in intents_some too", both.name()));
    }
    Ok(Intent::ALL.map(|intent| match (some.contains(&intent), not.contains(&intent)) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }))
}
