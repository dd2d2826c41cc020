//! Reads a policy from TOML and checks it whole: every fault with its line, not the first only.
//! May depend on `route`, the domain and `toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::cover::{contradiction, covers};
use super::{Conditions, CrisisRule, Handling, Policy, Quantity, Rule};
use crate::message::{Channel, Intent, Sentiment};

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// From 1.
    pub line: usize,
    pub what: String,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("the policy cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// All that is wrong with it.
    #[error("the policy is wrong:{}", .0.iter().map(|p| format!("\n  line {}: {}", p.line, p.what)).collect::<String>())]
    Problems(Vec<PolicyProblem>),
}

/// Keys of a rule that are not conditions.
const ACTIONS: [&str; 6] = ["name", "queue", "priority", "reply_within", "handling", "tone"];

impl Policy {
    /// Reads a file.
    ///
    /// # Errors
    /// [`PolicyError`], with every fault and its line.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// Reads what such a file has.
    ///
    /// # Errors
    /// [`PolicyError::Problems`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader { text, problems: Vec::new() };
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            reader.say(at, error.message());
        }
        let (mut queues, mut crisis, mut rules) = (BTreeMap::new(), None, Vec::new());
        for (key, value) in document.get_ref() {
            match key.get_ref().as_ref() {
                "queues" => queues = reader.queues(value),
                "crisis" => crisis = reader.crisis(value),
                "rules" => rules = reader.rules(value),
                other => reader.say(key.span().start, &format!("there is nothing called {other}")),
            }
        }
        reader.check(&queues, &rules);
        let mut problems = reader.problems;
        problems.sort_by_key(|problem| problem.line);
        match problems.is_empty() {
            true => Ok(Policy { queues, crisis, rules }),
            false => Err(PolicyError::Problems(problems)),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    problems: Vec<PolicyProblem>,
}

type Entry<'a, 'i> = &'a Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn say(&mut self, at: usize, what: &str) {
        let line = self.line(at);
        self.problems.push(PolicyProblem { line, what: what.to_owned() });
    }

    fn table<'a, 'i>(&mut self, name: &str, value: Entry<'a, 'i>) -> Option<&'a DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.say(value.span().start, &format!("{name} is no table"));
        }
        table
    }

    fn string(&mut self, name: &str, value: Entry<'_, '_>) -> Option<String> {
        let text = value.get_ref().as_str().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.say(value.span().start, &format!("{name} is not a text"));
        }
        text.map(str::to_owned)
    }

    fn switch(&mut self, name: &str, value: Entry<'_, '_>) -> Option<bool> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.say(value.span().start, &format!("{name} is not true or false"));
        }
        found
    }

    fn number(
        &mut self,
        name: &str,
        value: Entry<'_, '_>,
        (least, most): (f64, f64),
    ) -> Option<f64> {
        let found = match value.get_ref() {
            DeValue::Integer(number) => number.to_string().parse().ok(),
            DeValue::Float(number) => number.to_string().parse().ok(),
            _ => None,
        };
        let found = found.filter(|number| (least..=most).contains(number));
        if found.is_none() {
            let what = format!("{name} is not a number from {least} to {most}");
            self.say(value.span().start, &what);
        }
        found
    }

    fn time(&mut self, name: &str, value: Entry<'_, '_>) -> Option<Duration> {
        let found = value.get_ref().as_str().and_then(duration);
        if found.is_none() {
            let what = format!("{name} is not a time such as \"15m\", \"4h\" or \"2d\"");
            self.say(value.span().start, &what);
        }
        found
    }

    /// Names, each turned into what it stands for.
    fn names<T: PartialEq>(
        &mut self,
        key: &str,
        value: Entry<'_, '_>,
        of: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        let list = value.get_ref().as_array().map(|list| list.iter().collect::<Vec<_>>());
        if list.as_ref().is_none_or(Vec::is_empty) {
            self.say(value.span().start, &format!("{key} is not a list of names"));
        }
        for name in list.unwrap_or_default() {
            let at = name.span().start;
            match name.get_ref().as_str().map(|name| (name, of(name))) {
                Some((_, Some(one))) if !found.contains(&one) => found.push(one),
                Some((name, Some(_))) => self.say(at, &format!("{key} has {name} twice")),
                Some((name, None)) => self.say(at, &format!("{key} cannot be {name}")),
                None => self.say(at, &format!("{key} has something that is no name")),
            }
        }
        found
    }

    fn limits(&mut self, key: &str, value: Entry<'_, '_>) -> BTreeMap<Quantity, f32> {
        let mut limits = BTreeMap::new();
        for (name, value) in self.table(key, value).into_iter().flatten() {
            let Some(quantity) = Quantity::from_name(name.get_ref()) else {
                self.say(name.span().start, &format!("{key} knows no {}", name.get_ref()));
                continue;
            };
            if let Some(limit) = self.number(name.get_ref(), value, (0.0, 1.0)) {
                limits.insert(quantity, limit as f32);
            }
        }
        limits
    }

    fn queues(&mut self, value: Entry<'_, '_>) -> BTreeMap<String, String> {
        let mut queues = BTreeMap::new();
        for (name, queue) in self.table("queues", value).into_iter().flatten() {
            let mut about = String::new();
            for (key, value) in self.table(name.get_ref(), queue).into_iter().flatten() {
                match key.get_ref().as_ref() {
                    "about" => about = self.string("about", value).unwrap_or_default(),
                    other => self.say(key.span().start, &format!("a queue has no {other}")),
                }
            }
            queues.insert(name.get_ref().to_string(), about);
        }
        queues
    }

    fn crisis(&mut self, value: Entry<'_, '_>) -> Option<CrisisRule> {
        let at = value.span().start;
        let (mut complaints, mut within, mut share) = (None, None, Some(0.0));
        for (key, value) in self.table("crisis", value)? {
            match key.get_ref().as_ref() {
                "complaints" => complaints = self.number("complaints", value, (1.0, 1e6)),
                "within" => within = self.time("within", value),
                "share" => share = self.number("share", value, (0.0, 1.0)),
                other => self.say(key.span().start, &format!("a crisis has no {other}")),
            }
        }
        let (Some(complaints), Some(within), Some(share)) = (complaints, within, share) else {
            self.say(at, "a crisis needs `complaints` and `within`");
            return None;
        };
        Some(CrisisRule { complaints: complaints as usize, within, share: share as f32 })
    }

    fn rules(&mut self, value: Entry<'_, '_>) -> Vec<Rule> {
        let Some(list) = value.get_ref().as_array() else {
            self.say(value.span().start, "rules are written as [[rules]]");
            return Vec::new();
        };
        list.iter().filter_map(|rule| self.rule(rule)).collect()
    }

    fn rule(&mut self, value: Entry<'_, '_>) -> Option<Rule> {
        let at = value.span().start;
        let table = self.table("a rule", value)?;
        let (mut name, mut queue, mut tone, mut reply_within) = (None, None, None, None);
        let (mut priority, mut handling) = (3.0, Handling::Human);
        let mut when = Conditions::default();
        for (key, value) in table {
            let key_name = key.get_ref().as_ref();
            match key_name {
                "name" => name = self.string(key_name, value),
                "queue" => queue = self.string(key_name, value),
                "tone" => tone = self.string(key_name, value),
                "priority" => {
                    priority = self.number(key_name, value, (1.0, 5.0)).unwrap_or(priority)
                }
                "reply_within" => reply_within = self.time(key_name, value),
                "handling" => match value.get_ref().as_str() {
                    Some("human") => handling = Handling::Human,
                    Some("auto") => handling = Handling::Auto,
                    _ => self.say(value.span().start, "handling is not human or auto"),
                },
                "any" => when.any = self.names(key_name, value, Intent::from_name),
                "all" => when.all = self.names(key_name, value, Intent::from_name),
                "none" => when.none = self.names(key_name, value, Intent::from_name),
                "sentiment" => when.sentiment = self.names(key_name, value, Sentiment::from_name),
                "channel" => when.channel = self.names(key_name, value, Channel::from_name),
                "language" => {
                    when.language = self.names(key_name, value, |tag| Some(tag.to_owned()))
                }
                "tags" => when.tags = self.names(key_name, value, |tag| Some(tag.to_owned())),
                "urgent" => when.urgent = self.switch(key_name, value),
                "needs_review" => when.needs_review = self.switch(key_name, value),
                "crisis" => when.crisis = self.switch(key_name, value),
                "at_least" => when.at_least = self.limits(key_name, value),
                "below" => when.below = self.limits(key_name, value),
                other => {
                    let what = format!(
                        "a rule has no {other}; it has {} and conditions",
                        ACTIONS.join(", ")
                    );
                    self.say(key.span().start, &what);
                }
            }
        }
        if priority.fract() != 0.0 {
            self.say(at, "priority is a whole number from 1 to 5");
        }
        for (key, missing) in [("name", name.is_none()), ("queue", queue.is_none())] {
            if missing && table.get(key).is_none() {
                self.say(at, &format!("a rule needs a {key}"));
            }
        }
        if let Some(why) = contradiction(&when) {
            self.say(at, &format!("this rule never fits: {why}"));
        }
        let line = self.line(at);
        let (name, queue, priority) = (name?, queue?, priority as u8);
        Some(Rule { name, when, queue, priority, reply_within, handling, tone, line })
    }

    /// What is wrong with rules beside each other.
    fn check(&mut self, queues: &BTreeMap<String, String>, rules: &[Rule]) {
        let mut found = Vec::new();
        let mut names = BTreeSet::new();
        for (at, rule) in rules.iter().enumerate() {
            let mut say = |what: String| found.push(PolicyProblem { line: rule.line, what });
            if !names.insert(rule.name.as_str()) {
                say(format!("there is another rule called {:?}", rule.name));
            }
            if !queues.contains_key(&rule.queue) {
                say(format!("there is no queue {:?}", rule.queue));
            }
            if let Some(first) = rules[..at].iter().find(|first| covers(&first.when, &rule.when)) {
                say(format!(
                    "{:?} is never reached: {:?} (line {}) fits whatever it fits",
                    rule.name, first.name, first.line
                ));
            }
        }
        if rules.last().is_none_or(|last| !last.when.is_empty()) {
            let line = rules.last().map_or(1, |last| last.line);
            let what =
                "the last rule must have no conditions, so that every message goes somewhere";
            found.push(PolicyProblem { line, what: what.to_owned() });
        }
        self.problems.extend(found);
    }
}

/// A number and a unit: seconds, minutes, hours or days.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u32 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    (count > 0).then(|| Duration::from_secs(u64::from(count) * seconds))
}
