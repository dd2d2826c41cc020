//! Words that rose: which words a group of texts uses more than an earlier one did.
//!
//! By the log-likelihood ratio (Dunning 1993, <https://aclanthology.org/J93-1003>), which holds for rare words too, over the
//! number of texts that have a word, so that nobody makes a word rise by repeating it. Depends on nothing else in
//! the crate.

use std::collections::{HashMap, HashSet};

use unicode_segmentation::UnicodeSegmentation;

/// Words of which fewer texts than this speak say nothing.
const LEAST: u64 = 3;
/// 99.9% of a χ² distribution of one degree of freedom lie below it.
const UNLIKELY: f64 = 10.83;
/// Distinct words kept; what comes later and is new is left out.
const MOST: usize = 200_000;
/// Longest word kept, in bytes.
const LONGEST: usize = 40;

/// Words that say nothing by themselves, Dutch and English.
const STOP: &str = "aan al alle alleen als altijd ander andere anders ben bent bij daar dan dat de der deze die dit doch doe doen door dus \
een eens en er even ga gaan gaat geen geweest haar had heb hebben hebt heeft heel hem hen het hier hij hoe hun iemand iets ik in \
is ja je jij jou jouw jullie kan kom komen komt kon kunnen kunt laat maar me meer men met mij mijn moet moeten na naar nee niet niets \
nog nou nu of om omdat onder ons onze ook op over reeds te tegen toch toen tot u uit uw van veel voor waar wanneer waren was \
wat we weer wel werd wie wij wil willen word wordt worden zal ze zeer zei zelf zich zij zijn zo zonder zou zoals hè ff ie da \
a about after all also am an and any are as at be because been but by can could did do does for from get got had has have he \
her here him his how i if in into is it its just like me more my no not now of on or our out re so some still than that the \
their them then there they this to too up us very was we were what when where which who will with would you your im dont cant ive";

/// Texts by the words that they have.
#[derive(Clone, Debug)]
pub struct Words {
    stop: HashSet<&'static str>,
    texts: u64,
    with: HashMap<String, u64>,
}

impl Default for Words {
    fn default() -> Self {
        let stop = STOP.split_whitespace().collect();
        Words { stop, texts: 0, with: HashMap::new() }
    }
}

/// A word that rose.
#[derive(Clone, Debug, PartialEq)]
pub struct Rising {
    pub word: String,
    /// Texts with it now.
    pub now: u64,
    /// Texts with it before.
    pub before: u64,
    /// Texts that would have it now, had it not risen.
    pub expected: f64,
    /// Log-likelihood ratio, G².
    pub score: f64,
}

/// The words of a text, each once: lower case, no numbers, no handles or addresses.
fn words(text: &str, stop: &HashSet<&str>) -> HashSet<String> {
    let plain = text.split_whitespace().filter(|part| {
        !part.starts_with('@') && !part.contains("://") && !part.starts_with("www.")
    });
    plain
        .flat_map(UnicodeSegmentation::unicode_words)
        .map(str::to_lowercase)
        .filter(|word| {
            let letters = word.chars().filter(|c| c.is_alphabetic()).count();
            letters >= 3 && word.len() <= LONGEST && !stop.contains(word.as_str())
        })
        .collect()
}

impl Words {
    /// Counts a text.
    pub fn add(&mut self, text: &str) {
        self.texts += 1;
        for word in words(text, &self.stop) {
            self.count(word, 1);
        }
    }

    /// Counts all texts of another.
    pub fn merge(&mut self, other: &Words) {
        self.texts += other.texts;
        for (word, count) in &other.with {
            self.count(word.clone(), *count);
        }
    }

    fn count(&mut self, word: String, more: u64) {
        let full = self.with.len() >= MOST;
        match self.with.get_mut(&word) {
            Some(count) => *count += more,
            None if full => {}
            None => drop(self.with.insert(word, more)),
        }
    }

    /// The `most` words that rose most since `before`, the most telling first; none where either has no texts.
    pub fn risen(&self, before: &Words, most: usize) -> Vec<Rising> {
        let (n, m) = (self.texts as f64, before.texts as f64);
        if self.texts == 0 || before.texts == 0 {
            return Vec::new();
        }
        let rising = |(word, &now): (&String, &u64)| {
            let earlier = before.with.get(word).copied().unwrap_or(0);
            let (a, b) = (now as f64, earlier as f64);
            let expected = (a + b) * n / (n + m);
            let score = score(a, n, b, m);
            let rose = now >= LEAST && a > expected && score >= UNLIKELY;
            let expected = b * n / m;
            rose.then(|| Rising { word: word.clone(), now, before: earlier, expected, score })
        };
        let mut all: Vec<Rising> = self.with.iter().filter_map(rising).collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.word.cmp(&b.word)));
        all.truncate(most);
        all
    }
}

/// G² of a word in `a` of `n` texts and in `b` of `m`.
fn score(a: f64, n: f64, b: f64, m: f64) -> f64 {
    let all = n + m;
    let term = |seen: f64, expected: f64| match seen > 0.0 {
        true => seen * (seen / expected).ln(),
        false => 0.0,
    };
    let (with, without) = (a + b, all - a - b);
    2.0 * (term(a, with * n / all)
        + term(b, with * m / all)
        + term(n - a, without * n / all)
        + term(m - b, without * m / all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Words {
        let mut words = Words::default();
        texts.into_iter().for_each(|text| words.add(text));
        words
    }

    #[test]
    fn what_is_new_and_common_rises() {
        let before: Vec<String> =
            (0..200).map(|i| format!("de trein van {i} was te laat")).collect();
        let now: Vec<String> = (0..100)
            .map(|i| match i % 3 {
                0 => format!(
                    "@NS de WISSEL is weer kapot, trein {i} te laat https://kort.link/wissel"
                ),
                _ => "de trein was te laat".to_owned(),
            })
            .collect();
        let (before, now) =
            (of(before.iter().map(String::as_str)), of(now.iter().map(String::as_str)));
        let risen = now.risen(&before, 10);
        let names: Vec<&str> = risen.iter().map(|rising| rising.word.as_str()).collect();
        assert_eq!(
            names,
            ["kapot", "wissel"],
            "neither handles, addresses nor what was there before"
        );
        assert_eq!((risen[0].now, risen[0].before, risen[0].expected), (34, 0, 0.0));
        assert_eq!(now.risen(&before, 1).len(), 1);
        assert_eq!(before.risen(&now, 10), []);
        assert_eq!(now.risen(&Words::default(), 10), []);
        let mut halves = of(["de wissel is kapot"; 4]);
        halves.merge(&of(["de wissel is kapot"; 6]));
        assert_eq!(halves.risen(&before, 10), of(["de wissel is kapot"; 10]).risen(&before, 10));
    }

    #[test]
    fn one_text_raises_no_word() {
        let shout = "storing ".repeat(50);
        let now = of([shout.as_str(), "hallo daar"]);
        let before = of(["goedemorgen allemaal"; 500]);
        assert_eq!(now.risen(&before, 10), []);
    }

    #[test]
    fn the_score_is_that_of_the_paper() {
        // A 2 x 2 table without association has G² = 0; one with 10 of 20 against 0 of 20 has 2 Σ O ln(O/E).
        assert!(score(10.0, 20.0, 10.0, 20.0).abs() < 1e-9);
        let by_hand = 2.0
            * (10.0 * (10.0f64 / 5.0).ln()
                + 10.0 * (10.0f64 / 15.0).ln()
                + 20.0 * (20.0f64 / 15.0).ln());
        assert!((score(10.0, 20.0, 0.0, 20.0) - by_hand).abs() < 1e-9);
    }
}
