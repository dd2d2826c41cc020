//! The same message written another way: changes that must not change a verdict.
//!
//! Training mixes them in, evaluation counts the labels that flip. May depend on: `message`.

use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::message::Language;

/// A way to write a message differently without saying anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// Without a capital.
    Lower,
    /// One word in ten mistyped, at least one.
    Typos,
    /// Without the punctuation that closes it (a question mark says something, so it stays).
    Closing,
    /// Without emoji.
    Emoji,
    /// Other handles, brands and first names.
    Names,
    /// `u` for `jij` and the reverse, in Dutch.
    Address,
    /// Without accents.
    Accents,
}

impl Change {
    /// All of them.
    pub const ALL: [Change; 7] = [
        Change::Lower,
        Change::Typos,
        Change::Closing,
        Change::Emoji,
        Change::Names,
        Change::Address,
        Change::Accents,
    ];

    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Change::Lower => "lower case",
            Change::Typos => "typos, one word in ten",
            Change::Closing => "no closing punctuation",
            Change::Emoji => "no emoji",
            Change::Names => "other names and handles",
            Change::Address => "u for jij, jij for u",
            Change::Accents => "no accents",
        }
    }

    /// Whether it leaves what is said in that language as it is: in English `u` is short for `you`.
    pub fn suits(self, language: Language) -> bool {
        self != Change::Address || language != Language::English
    }

    /// `text` changed so; `None` where there is nothing to change.
    pub fn apply(self, text: &str, random: &mut impl RngExt) -> Option<String> {
        let changed = match self {
            Change::Lower => text.to_lowercase(),
            Change::Typos => typos(text, random),
            Change::Closing => {
                text.trim_end_matches(|c: char| c.is_whitespace() || ".!…,;".contains(c)).into()
            }
            Change::Emoji => without_emoji(text),
            Change::Names => by_words(text, |word| other_name(word, random)),
            Change::Address => by_words(text, other_address),
            Change::Accents => text.chars().map(plain).collect(),
        };
        (changed != text && !changed.trim().is_empty()).then_some(changed)
    }
}

/// First names, of which one stands for another.
const FIRST_NAMES: &[&str] = &[
    "Anna", "Sanne", "Fatima", "Emma", "Lotte", "Julia", "Mieke", "Noor", "Yasmina", "Sophie",
    "Jan", "Pieter", "Mohamed", "Kees", "Daan", "Bram", "Lukas", "Tom", "Ahmed", "Willem", "Sarah",
    "John", "Emily", "James",
];
/// Names of organisations, of which one stands for another of the same kind.
const BRANDS: &[&[&str]] = &[
    &["Ziggo", "KPN", "Vodafone", "Odido", "Telenet", "Proximus", "Simpel", "Youfone"],
    &["ING", "Rabobank", "KBC", "Belfius", "Bunq", "Triodos", "Knab"],
    &["NS", "NMBS", "Arriva", "Connexxion", "GVB", "RET", "HTM", "Keolis"],
    &["PostNL", "DHL", "DPD", "Bpost", "GLS", "UPS"],
    &["Bol", "Coolblue", "Zalando", "Wehkamp", "MediaMarkt", "Amazon", "HEMA"],
    &["Eneco", "Vattenfall", "Essent", "Greenchoice", "Engie", "Luminus"],
    &["Jumbo", "Lidl", "Aldi", "Colruyt", "Delhaize", "Plus"],
    &["KLM", "Transavia", "Ryanair", "easyJet", "Corendon", "Lufthansa"],
    &["Twente", "Utrecht", "Antwerpen", "Gent", "Zwolle", "Leuven", "Breda", "Brugge"],
];

/// `text` with each word, as split at white space, replaced where `other` says so.
fn by_words(text: &str, mut other: impl FnMut(&str) -> Option<String>) -> String {
    let mut changed = String::with_capacity(text.len());
    for part in text.split_inclusive(char::is_whitespace) {
        let start = part.find(|c: char| c.is_alphanumeric() || c == '@').unwrap_or(part.len());
        let end = part
            .rfind(|c: char| c.is_alphanumeric())
            .map_or(start, |at| at + part[at..].chars().next().map_or(0, char::len_utf8));
        let (start, end) = (start.min(end), end);
        changed.push_str(&part[..start]);
        let word = &part[start..end];
        match other(word) {
            Some(word) => changed.push_str(&word),
            None => changed.push_str(word),
        }
        changed.push_str(&part[end..]);
    }
    changed
}

fn other_name(word: &str, random: &mut impl RngExt) -> Option<String> {
    if let Some(handle) = word.strip_prefix('@') {
        let syllables =
            ["ka", "lo", "mi", "ver", "den", "jo", "ster", "wil", "ne", "bo", "tje", "ra"];
        let mut name = String::from("@");
        for _ in 0..2 + handle.len() / 8 {
            name.push_str(syllables.choose(random)?);
        }
        return (handle.len() > 1).then_some(name);
    }
    let kinds = BRANDS.iter().chain(std::iter::once(&FIRST_NAMES));
    let kind = kinds.into_iter().find(|kind| kind.contains(&word))?;
    kind.choose(random).map(|&name| name.to_owned())
}

fn other_address(word: &str) -> Option<String> {
    let pairs = [("u", "je"), ("uw", "jouw"), ("U", "Je"), ("Uw", "Jouw")];
    let back = [("je", "u"), ("jij", "u"), ("jou", "u"), ("jouw", "uw"), ("Je", "U"), ("Jij", "U")];
    let found = pairs.iter().chain(&back).find(|(from, _)| *from == word)?;
    Some(found.1.to_owned())
}

fn without_emoji(text: &str) -> String {
    let is_emoji = |c: char| matches!(u32::from(c), 0x1f000..=0x1faff | 0x2600..=0x27bf | 0x2b50..=0x2b55 | 0xfe0f | 0x200d);
    let kept: String = text.chars().filter(|&c| !is_emoji(c)).collect();
    if kept == text { kept } else { kept.trim().to_owned() }
}

/// Latin letters without their accent.
fn plain(c: char) -> char {
    match c {
        'á' | 'à' | 'ä' | 'â' => 'a',
        'é' | 'è' | 'ë' | 'ê' => 'e',
        'í' | 'ì' | 'ï' | 'î' => 'i',
        'ó' | 'ò' | 'ö' | 'ô' => 'o',
        'ú' | 'ù' | 'ü' | 'û' => 'u',
        'É' | 'È' | 'Ë' => 'E',
        'ç' => 'c',
        other => other,
    }
}

/// Swaps, drops, doubles or misses a letter in one word in ten. Short words stay: a typo in them is
/// another word.
fn typos(text: &str, random: &mut impl RngExt) -> String {
    let may = |word: &str| word.chars().count() >= 4 && word.chars().all(char::is_alphabetic);
    let words = text.split_whitespace().filter(|word| may(word)).count();
    if words == 0 {
        return text.to_owned();
    }
    let share = (0.1f64).max(1.0 / words as f64);
    by_words(text, |word| {
        if !may(word) || !random.random_bool(share) {
            return None;
        }
        let mut letters: Vec<char> = word.chars().collect();
        // The first letter is rarely the one that is missed.
        let at = random.random_range(1..letters.len() - 1);
        match random.random_range(0..4) {
            0 => letters.swap(at, at + 1),
            1 => drop(letters.remove(at)),
            2 => letters.insert(at, letters[at]),
            _ => letters[at] = neighbour(letters[at]),
        }
        Some(letters.into_iter().collect())
    })
}

/// A letter beside `c` on the keyboard.
fn neighbour(c: char) -> char {
    ["qwertyuiop", "asdfghjkl", "zxcvbnm"]
        .iter()
        .find_map(|row| {
            let at = row.find(c)?;
            row[at + 1..].chars().next().or_else(|| row[..at].chars().next_back())
        })
        .unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn changed(change: Change, text: &str) -> Option<String> {
        change.apply(text, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn each_change_does_what_it_says_and_no_more() {
        let of = |change, text| changed(change, text).unwrap();
        assert_eq!(of(Change::Lower, "Hallo NS!"), "hallo ns!");
        assert_eq!(of(Change::Closing, "Top geholpen!! "), "Top geholpen");
        assert_eq!(changed(Change::Closing, "Zijn jullie open?"), None);
        assert_eq!(of(Change::Emoji, "Lekker bezig 👏🙄"), "Lekker bezig");
        assert_eq!(changed(Change::Emoji, "👏"), None, "nothing would be left");
        assert_eq!(of(Change::Address, "Kunt u uw site nakijken?"), "Kunt je jouw site nakijken?");
        assert_eq!(changed(Change::Address, "Niets aan te doen"), None);
        assert!(
            !Change::Address.suits(Language::English) && Change::Lower.suits(Language::English)
        );
        assert_eq!(of(Change::Accents, "één café"), "een cafe");
        let names = of(Change::Names, "@nl_spoor: Sanne van Ziggo, dank!");
        assert!(
            names.starts_with('@') && names.ends_with(", dank!") && !names.contains("nl_spoor")
        );
    }

    #[test]
    fn one_word_in_ten_is_mistyped() {
        let text =
            "wanneer komt mijn pakketje eindelijk eens binnen want zitten wachten ".repeat(60);
        let other = changed(Change::Typos, &text).unwrap();
        let pairs = text.split_whitespace().zip(other.split_whitespace());
        let share = pairs.clone().filter(|(a, b)| a != b).count() as f64 / pairs.count() as f64;
        assert!((0.05..0.16).contains(&share), "{share}");
    }
}
