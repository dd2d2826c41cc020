//! Which language a message is in, by the trigram model of `whatlang`. Depends on: `message`.

use whatlang::{Detector, Lang};

use crate::message::Language;

/// Languages told apart: those we label, and their neighbours in the mail, so that a German message
/// is not taken for Dutch for want of a better choice.
const KNOWN: [(Lang, Language); 11] = [
    (Lang::Nld, Language::Dutch),
    (Lang::Eng, Language::English),
    (Lang::Deu, Language::Other("de")),
    (Lang::Fra, Language::Other("fr")),
    (Lang::Spa, Language::Other("es")),
    (Lang::Ita, Language::Other("it")),
    (Lang::Por, Language::Other("pt")),
    (Lang::Pol, Language::Other("pl")),
    (Lang::Tur, Language::Other("tr")),
    (Lang::Ara, Language::Other("ar")),
    (Lang::Ukr, Language::Other("uk")),
];
/// Confidence from which Dutch or English is believed, and from which another language is: few messages
/// are in one, and dialect, slang and typos look like many.
const SURE: f64 = 0.5;
const SURE_OF_ANOTHER: f64 = 0.6;
/// Letters from which another language is believed.
const LETTERS: usize = 24;

/// The language of `text`; where that cannot be told with confidence, the caller's `hint`.
pub fn detect(text: &str, hint: Option<Language>) -> Language {
    let unclear = hint.unwrap_or(Language::Undetermined);
    let allowed = KNOWN.iter().map(|(lang, _)| *lang).collect();
    let Some(info) = Detector::with_allowlist(allowed).detect(text) else { return unclear };
    let found = KNOWN.iter().find(|(lang, _)| *lang == info.lang());
    let found = found.map_or(Language::Undetermined, |(_, language)| *language);
    let letters = || text.chars().filter(|c| c.is_alphabetic()).count();
    // A caller's hint is often just the language of the channel: text that is clear goes before it.
    let believed = match found {
        Language::Other(_) => info.confidence() > SURE_OF_ANOTHER && letters() >= LETTERS,
        _ => info.confidence() > SURE,
    };
    if believed { found } else { unclear }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_dutch_from_english_and_others() {
        let dutch = "Ik heb vorige week een pakketje besteld maar het is nog steeds niet bezorgd";
        let english = "I ordered a parcel last week but it still has not been delivered to me";
        let german = "Ich habe letzte Woche ein Paket bestellt, aber es ist noch nicht geliefert";
        assert_eq!(detect(dutch, None), Language::Dutch);
        assert_eq!(detect(english, Some(Language::Dutch)), Language::English);
        assert_eq!(detect(german, None), Language::Other("de"));
        assert_eq!(detect(german, Some(Language::Dutch)), Language::Other("de"));
        let french = "J'ai commandé un colis la semaine dernière mais il n'est toujours pas livré";
        assert_eq!(detect(french, None), Language::Other("fr"));
    }

    #[test]
    fn a_hint_settles_what_the_text_leaves_open() {
        assert_eq!(detect("ok", Some(Language::English)), Language::English);
        assert_eq!(detect("👍", Some(Language::Dutch)), Language::Dutch);
        assert_eq!(detect("👍", None), Language::Undetermined);
    }
}
