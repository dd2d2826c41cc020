//! Numbers, dates and durations as people write them in each language.
//!
//! What cannot be written, such as a share of nothing, is a dash. May depend on `data`, `words`.

use super::data::{Language, Month};
use super::words::{DUTCH, ENGLISH, Words};

/// What stands where there is no number.
pub(super) const NONE: &str = "-";

/// `part` as a share of `whole`; absent where there is no whole.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Language {
    pub(super) fn words(self) -> &'static Words {
        match self {
            Language::Dutch => &DUTCH,
            Language::English => &ENGLISH,
        }
    }

    /// The language's tag for `lang`.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Language::Dutch => "nl",
            Language::English => "en",
        }
    }

    /// The marks before thousands and before decimals.
    pub(super) fn marks(self) -> (char, char) {
        match self {
            Language::Dutch => ('.', ','),
            Language::English => (',', '.'),
        }
    }

    pub(super) fn count(self, n: u64) -> String {
        let digits = n.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(self.marks().0);
            }
            text.push(digit);
        }
        text
    }

    pub(super) fn decimal(self, value: f64, decimals: usize) -> String {
        if !value.is_finite() {
            return NONE.into();
        }
        let text = format!("{:.decimals$}", value.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        // Beyond u64 nobody counts in thousands.
        let whole = whole.parse().map_or_else(|_| whole.to_owned(), |whole| self.count(whole));
        // What rounds to nothing has no sign.
        let below = value < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        let minus = if below { "−" } else { "" };
        match fraction {
            "" => format!("{minus}{whole}"),
            _ => format!("{minus}{whole}{}{fraction}", self.marks().1),
        }
    }

    /// With its sign, also where it is above zero.
    pub(super) fn signed(self, value: f64, decimals: usize) -> String {
        let text = self.decimal(value, decimals);
        let above = value > 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        if above { format!("+{text}") } else { text }
    }

    pub(super) fn percent(self, share: Option<f64>) -> String {
        match share.filter(|share| share.is_finite()) {
            Some(share) => format!("{}%", self.decimal(share * 100.0, 1)),
            None => NONE.into(),
        }
    }

    /// Seconds in the two largest units that say something.
    pub(super) fn duration(self, seconds: Option<f64>) -> String {
        let Some(seconds) = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) else {
            return NONE.into();
        };
        let words = self.words();
        let (minutes, hours) = ((seconds / 60.0).round() as u64, (seconds / 3600.0).round() as u64);
        match () {
            () if seconds.round() < 60.0 => format!("{:.0}\u{a0}s", seconds.round()),
            () if minutes < 60 => format!("{minutes}\u{a0}min"),
            () if minutes < 24 * 60 => {
                format!("{}\u{a0}{} {:02}\u{a0}min", minutes / 60, words.hour_sign, minutes % 60)
            }
            () => format!(
                "{}\u{a0}{} {}\u{a0}{}",
                self.count(hours / 24),
                words.day_sign,
                hours % 24,
                words.hour_sign
            ),
        }
    }

    pub(super) fn p_value(self, p: f64) -> String {
        match p {
            p if p < 0.001 => format!("p\u{a0}<\u{a0}{}", self.decimal(0.001, 3)),
            // Just below 0.05 must not read as 0.05.
            p if p < 0.05 => {
                format!("p\u{a0}=\u{a0}{}", self.decimal((p * 1000.0).floor() / 1000.0, 3))
            }
            p => format!("p\u{a0}=\u{a0}{}", self.decimal(p, 2)),
        }
    }

    /// Such as `maart`.
    pub(super) fn month_name(self, month: Month) -> String {
        let name = self.words().months.split(' ').nth(usize::from(month.month).wrapping_sub(1));
        name.map_or_else(|| month.month.to_string(), str::to_owned)
    }

    /// Such as `maart 2026`.
    pub(super) fn month(self, month: Month) -> String {
        format!("{} {}", self.month_name(month), month.year)
    }

    /// Such as `mrt 26`, for an axis.
    pub(super) fn month_short(self, month: Month) -> String {
        let names = self.words().months_short;
        let name = names.split(' ').nth(usize::from(month.month).wrapping_sub(1));
        let name = name.map_or_else(|| month.month.to_string(), str::to_owned);
        format!("{name} {:02}", month.year % 100)
    }

    /// Such as `12 maart`.
    pub(super) fn day(self, day: u8, month: Month) -> String {
        format!("{day} {}", self.month_name(month))
    }

    /// Such as `ma`; nothing for a day that no week has.
    pub(super) fn weekday(self, weekday: u8) -> &'static str {
        self.words().weekdays.split(' ').nth(usize::from(weekday)).unwrap_or_default()
    }

    /// Such as `12, 13 en 20`.
    pub(super) fn list(self, parts: &[String]) -> String {
        match parts {
            [] => String::new(),
            [one] => one.clone(),
            [most @ .., last] => format!("{} {} {last}", most.join(", "), self.words().and),
        }
    }
}
