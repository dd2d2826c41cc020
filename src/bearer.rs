//! Who may call: bearer tokens by their hashes, each with a rate of its own.
//!
//! A file has one `name sha256-in-hex [messages-a-second]` a line; empty lines and those that begin with `#` do not
//! count. Tokens are 32 random bytes, so a plain hash is enough: there is nothing to guess. Depends on nothing
//! else in the crate.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Bytes of a new token.
const BYTES: usize = 32;
/// Rates that can be set, in messages per second.
pub const RATES: std::ops::RangeInclusive<f64> = 1e-3..=1e6;

type Hash = [u8; 32];

/// Why a file of tokens cannot be used. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum BearersError {
    /// It cannot be read.
    #[error("the tokens cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Some of its lines are wrong.
    #[error("the tokens are wrong:{}", .0.iter().map(|(line, what)| format!("\n  line {line}: {what}")).collect::<String>())]
    Lines(Vec<(usize, &'static str)>),
}

/// Somebody who may call.
#[derive(Debug)]
pub struct Bearer {
    name: String,
    hash: Hash,
    rate: Option<Rate>,
}

/// Messages per second. There may be debts, which later calls wait for: a call is let in as a whole as long
/// as there is anything left.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    /// Messages that may still come, and when that was so.
    left: Mutex<(f64, Instant)>,
}

impl Rate {
    fn new(per_second: f64) -> Self {
        Rate { per_second, left: Mutex::new((per_second.max(1.0), Instant::now())) }
    }

    fn take(&self, messages: usize, now: Instant) -> Result<(), Duration> {
        let mut guard = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *guard;
        let grown = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
        // What is not used in a second is gone.
        let left = (left + grown).min(self.per_second.max(1.0));
        // A hair less than one is one: time comes in fractions.
        if left < 1.0 - 1e-6 {
            *guard = (left, now.max(since));
            return Err(Duration::from_secs_f64((1.0 - left) / self.per_second));
        }
        *guard = (left - messages as f64, now.max(since));
        Ok(())
    }
}

impl Bearer {
    /// As the file names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes so many messages off what may come.
    ///
    /// # Errors
    /// How long to wait, where nothing is left.
    pub fn take(&self, messages: usize) -> Result<(), Duration> {
        self.rate.as_ref().map_or(Ok(()), |rate| rate.take(messages, Instant::now()))
    }
}

/// All who may call.
#[derive(Debug, Default)]
pub struct Bearers(Vec<Arc<Bearer>>);

impl Bearers {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BearersError`] naming every line that is wrong.
    pub fn read(path: &Path) -> Result<Self, BearersError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// Reads what such a file has.
    ///
    /// # Errors
    /// [`BearersError::Lines`].
    pub fn parse(text: &str) -> Result<Self, BearersError> {
        let (mut bearers, mut wrong) = (Vec::<Arc<Bearer>>::new(), Vec::new());
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match one(text) {
                Ok(bearer) if bearers.iter().any(|other| other.name == bearer.name) => {
                    wrong.push((line, "the name was given before"));
                }
                Ok(bearer) => bearers.push(Arc::new(bearer)),
                Err(what) => wrong.push((line, what)),
            }
        }
        if bearers.is_empty() && wrong.is_empty() {
            wrong.push((1, "there is no token, so nobody could call"));
        }
        if wrong.is_empty() { Ok(Bearers(bearers)) } else { Err(BearersError::Lines(wrong)) }
    }

    /// Who has this token. Takes as long whoever it is, and whether or not there is one.
    pub fn find(&self, token: &[u8]) -> Option<&Arc<Bearer>> {
        let hash: Hash = Sha256::digest(token).into();
        let mut found = u32::MAX;
        for (index, bearer) in (0u32..).zip(&self.0) {
            let same: Choice = bearer.hash.ct_eq(&hash);
            found.conditional_assign(&index, same);
        }
        self.0.get(usize::try_from(found).ok()?)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The same, with the accounts of those who were there before and still have the same token and rate.
    pub fn after(self, before: &Bearers) -> Self {
        let kept = self.0.into_iter().map(|bearer| {
            let rate = |bearer: &Bearer| bearer.rate.as_ref().map(|rate| rate.per_second);
            let same = |old: &&Arc<Bearer>| {
                old.name == bearer.name && old.hash == bearer.hash && rate(old) == rate(&bearer)
            };
            before.0.iter().find(same).cloned().unwrap_or(bearer)
        });
        Bearers(kept.collect())
    }
}

fn one(line: &str) -> Result<Bearer, &'static str> {
    let mut words = line.split_whitespace();
    let (name, hash) = (words.next().unwrap_or_default(), words.next());
    let hash = hash.and_then(unhex).ok_or("the second word is not a SHA-256 in hex")?;
    let rate = match words.next().map(str::parse::<f64>) {
        None => None,
        Some(Ok(rate)) if RATES.contains(&rate) => Some(Rate::new(rate)),
        Some(_) => return Err("the third word is not a rate from 0.001 to 1,000,000"),
    };
    if words.next().is_some() {
        return Err("there are more than three words");
    }
    Ok(Bearer { name: name.to_owned(), hash, rate })
}

fn unhex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    let mut hash = Hash::default();
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(hash)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A new token, and the line for the file, without a rate.
///
/// # Errors
/// Where the system has no random bytes to give.
pub fn new_token(name: &str) -> std::io::Result<(String, String)> {
    let mut bytes = [0u8; BYTES];
    SysRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    let token = format!("kb_{}", hex(&bytes));
    let line = format!("{name} {}", hex(&Sha256::digest(token.as_bytes())));
    Ok((token, line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> Vec<(usize, &'static str)> {
        match Bearers::parse(text) {
            Err(BearersError::Lines(lines)) => lines,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_who_has_a_token_is_found() {
        let (token, line) = new_token("router").unwrap();
        let (other, second) = new_token("kpi").unwrap();
        let all = Bearers::parse(&format!("# ours\n{line}\n\n{second} 50\n")).unwrap();
        assert_eq!(all.find(token.as_bytes()).unwrap().name(), "router");
        assert_eq!(all.find(other.as_bytes()).unwrap().name(), "kpi");
        for not in [&token[1..], "", "kb_", &format!("{token} ")] {
            assert!(all.find(not.as_bytes()).is_none());
        }
    }

    #[test]
    fn every_wrong_line_is_named_and_none_is_quoted() {
        let (_, line) = new_token("a").unwrap();
        let text = format!(
            "{line}\n{line}\nb 1234\n\nc {0}\nd {1} 1e-300\ne {1} 5 6\n",
            "é".repeat(32),
            "a".repeat(64)
        );
        let found = wrong(&text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 5, 6, 7]);
        assert_eq!(wrong("# nobody\n"), [(1, "there is no token, so nobody could call")]);
    }

    #[test]
    fn debts_are_waited_for() {
        let rate = Rate::new(10.0);
        let start = Instant::now();
        assert_eq!(rate.take(30, start), Ok(()), "as a whole");
        let wait = rate.take(1, start).unwrap_err();
        assert!((wait.as_secs_f64() - 2.1).abs() < 0.1, "{wait:?}");
        assert!(rate.take(1, start + wait / 2).is_err());
        assert_eq!(rate.take(1, start + wait + Duration::from_millis(1)), Ok(()));
        let later = start + Duration::from_secs(3600);
        assert_eq!(rate.take(10, later), Ok(()));
        assert!(rate.take(1, later).is_err(), "an idle hour saves up a second's worth");
    }

    #[test]
    fn accounts_outlive_a_reload_where_nothing_changed() {
        let (token, line) = new_token("a").unwrap();
        let before = Bearers::parse(&format!("{line} 1")).unwrap();
        before.find(token.as_bytes()).unwrap().take(100).unwrap();
        let after = Bearers::parse(&format!("{line} 1")).unwrap().after(&before);
        assert!(after.find(token.as_bytes()).unwrap().take(1).is_err());
        let raised = Bearers::parse(&format!("{line} 2")).unwrap().after(&after);
        assert!(raised.find(token.as_bytes()).unwrap().take(1).is_ok());
    }

    proptest! {
        #[test]
        fn fuzz_a_file_of_tokens(text in "\\PC{0,200}", rest in "[a-f0-9 #\n.-]{0,300}") {
            let _ = (Bearers::parse(&text), Bearers::parse(&rest));
        }
    }
}
