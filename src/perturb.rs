//! The same message written another way: changes that must not change a verdict.
//!
//! Training mixes them in, evaluation counts the labels that flip. May depend on: `message`.

use rand::RngExt;
use rand::distr::Alphanumeric;
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
    /// A link behind it, handles before it, a word or two as hashtags, as on Twitter/X.
    Tags,
}

impl Change {
    /// All of them.
    pub const ALL: [Change; 8] = [
        Change::Lower,
        Change::Typos,
        Change::Closing,
        Change::Emoji,
        Change::Names,
        Change::Address,
        Change::Accents,
        Change::Tags,
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
            Change::Tags => "link, handles, hashtags added",
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
            Change::Tags => tagged(text, random),
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
        return (handle.len() > 1).then(|| other_handle(2 + handle.len() / 8, random));
    }
    let kinds = BRANDS.iter().chain(std::iter::once(&FIRST_NAMES));
    let kind = kinds.into_iter().find(|kind| kind.contains(&word))?;
    kind.choose(random).map(|&name| name.to_owned())
}

/// A handle of that many syllables.
fn other_handle(syllables: usize, random: &mut impl RngExt) -> String {
    let all = ["ka", "lo", "mi", "ver", "den", "jo", "ster", "wil", "ne", "bo", "tje", "ra"];
    let chosen = (0..syllables).filter_map(|_| all.choose(random).copied());
    std::iter::once("@").chain(chosen).collect()
}

/// `text` with what surrounds a tweet: a link in two of three, handles in one of three, and a word of six letters
/// or more in six as a hashtag.
fn tagged(text: &str, random: &mut impl RngExt) -> String {
    let mut changed = by_words(text, |word| {
        let apt = word.chars().count() >= 6 && word.chars().all(char::is_alphanumeric);
        (apt && random.random_ratio(1, 6)).then(|| format!("#{word}"))
    });
    // Those that were hashtags before.
    changed = changed.replace("##", "#");
    if random.random_ratio(1, 3) {
        for _ in 0..random.random_range(1..=3) {
            let syllables = random.random_range(2..=4);
            changed = format!("{} {changed}", other_handle(syllables, random));
        }
    }
    if random.random_ratio(2, 3) && !changed.contains("https://") {
        let link: String = (0..10).map(|_| char::from(random.sample(Alphanumeric))).collect();
        changed = format!("{} https://t.co/{link}", changed.trim_end());
    }
    changed
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
    fn tags_surround_the_words_and_leave_them() {
        let text = "Wanneer gaat het zwembad in Overvecht weer open voor banen?";
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let (mut links, mut handles, mut hashtags) = (0, 0, 0);
        for _ in 0..300 {
            let Some(tagged) = Change::Tags.apply(text, &mut random) else { continue };
            links += usize::from(tagged.contains(" https://t.co/"));
            handles += usize::from(tagged.starts_with('@'));
            hashtags += usize::from(tagged.contains('#'));
            let of_old = |word: &&str| !word.starts_with('@') && !word.starts_with("https://");
            let words = tagged.split(' ').filter(of_old).map(|word| word.trim_start_matches('#'));
            assert_eq!(words.collect::<Vec<_>>().join(" "), text);
        }
        assert!((150..250).contains(&links) && (60..140).contains(&handles) && hashtags > 60);
        let linked = "Zie https://voorbeeld.nl/a";
        let again = (0..50).filter_map(|_| Change::Tags.apply(linked, &mut random));
        assert!(again.into_iter().all(|text| text.matches("https://").count() == 1));
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
