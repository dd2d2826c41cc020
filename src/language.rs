//! Which language a message is in, by the trigram model of `whatlang`. Depends on: `message`.

use whatlang::{Detector, Lang};

use crate::message::Language;

/// Languages told apart: those we label, and their neighbours in the mail, so that a German message
/// is not taken for Dutch for want of a better choice.
const KNOWN: [Lang; 5] = [Lang::Nld, Lang::Eng, Lang::Deu, Lang::Fra, Lang::Spa];

/// The language of `text`; where that cannot be told with confidence, the caller's `hint`.
pub fn detect(text: &str, hint: Option<Language>) -> Language {
    let Some(info) = Detector::with_allowlist(KNOWN.to_vec()).detect(text) else {
        return hint.unwrap_or(Language::Undetermined);
    };
    let found = match info.lang() {
        Lang::Nld => Language::Dutch,
        Lang::Eng => Language::English,
        _ => Language::Undetermined,
    };
    // Surer than a coin: a caller's hint is often just the language of the channel.
    if info.confidence() > 0.5 { found } else { hint.unwrap_or(Language::Undetermined) }
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
        assert_eq!(detect(german, None), Language::Undetermined);
    }

    #[test]
    fn a_hint_settles_what_the_text_leaves_open() {
        assert_eq!(detect("ok", Some(Language::English)), Language::English);
        assert_eq!(detect("👍", Some(Language::Dutch)), Language::Dutch);
        assert_eq!(detect("👍", None), Language::Undetermined);
    }
}
