//! What a single line of an e-mail looks like: a mark of a quotation, of a signature, or neither.
//!
//! Dutch and English first, and the marks of French and German programs, which end up below Dutch
//! mail as well. Pure; depends on nothing.

/// Whether a mail program marked the line as quoted: `> …`, `>> …`. Not `>:(` or `>_<`.
pub(super) fn is_quoted(line: &str) -> bool {
    let line = line.trim_start();
    let rest = line.trim_start_matches('>');
    rest.len() < line.len()
        && rest.chars().next().is_none_or(|c| c.is_whitespace() || c.is_alphanumeric())
}

/// Whether a quoted line by itself may as well be "more than": `> 5 euro`.
pub(super) fn is_comparison(line: &str) -> bool {
    let rest = line.trim_start().trim_start_matches('>').trim_start();
    rest.starts_with(|c: char| c.is_ascii_digit() || c == '€')
}

/// Whether the line says who wrote what follows: "Op 3 mei 2026 om 14:02 schreef X:".
pub(super) fn is_attribution(line: &str) -> bool {
    const FRAMES: [(&str, &str); 4] =
        [("op ", " schreef"), ("on ", " wrote"), ("le ", " a écrit"), ("am ", " schrieb")];
    let line = line.trim().to_lowercase();
    let Some(said) = line.strip_suffix(':') else { return false };
    let said = said.trim_end();
    // "Op 3 mei schreef ik u:" is the sender's own.
    let own = [" schreef ik", " i wrote", " we wrote", " schreef wij"];
    said.contains(|c: char| c.is_ascii_digit())
        && !own.iter().any(|words| said.contains(words))
        && FRAMES.iter().any(|(begin, verb)| match said.strip_prefix(begin) {
            // In English and French the verb ends the line.
            Some(rest) if *verb == " schreef" || *verb == " schrieb" => rest.contains(verb),
            Some(rest) => rest.ends_with(verb),
            None => false,
        })
}

/// Whether an attribution is so exact that a program wrote it: a time or an address is in it.
pub(super) fn is_exact(attribution: &str) -> bool {
    let bytes = attribution.as_bytes();
    attribution.contains('@')
        || bytes.windows(3).any(|w| {
            w[0].is_ascii_digit() && matches!(w[1], b':' | b'.' | b'h') && w[2].is_ascii_digit()
        })
}

/// Name of the e-mail header that the line is, in lower case.
fn header(line: &str) -> Option<String> {
    let line = line.trim().trim_start_matches('*');
    let (name, _) = line.split_once(':')?;
    let name = name.trim_end_matches(['*', ' ']).to_lowercase();
    (name.chars().count() <= 10).then_some(name)
}

/// Whether the line begins a block of headers: who it is from.
pub(super) fn is_sender(line: &str) -> bool {
    header(line).is_some_and(|name| ["van", "from", "de", "von"].contains(&name.as_str()))
}

/// Whether the line goes on with a block of headers.
pub(super) fn is_header(line: &str) -> bool {
    const NAMES: [&str; 22] = [
        "verzonden",
        "datum",
        "aan",
        "cc",
        "onderwerp",
        "sent",
        "date",
        "to",
        "subject",
        "envoyé",
        "date d'envoi",
        "à",
        "objet",
        "gesendet",
        "an",
        "betreff",
        "reply-to",
        "bcc",
        "beantwoord",
        "verstuurd",
        "betreft",
        "importance",
    ];
    header(line).is_some_and(|name| NAMES.contains(&name.as_str()))
}

/// Whether the line is the rule that a program draws above an older message.
pub(super) fn is_divider(line: &str) -> bool {
    const WORDS: [&str; 12] = [
        "oorspronkelijk bericht",
        "oorspronkelijke bericht",
        "origineel bericht",
        "original message",
        "doorgestuurd bericht",
        "forwarded message",
        "forwarded by",
        "message d'origine",
        "message original",
        "message transféré",
        "ursprüngliche nachricht",
        "weitergeleitete nachricht",
    ];
    let line = line.trim();
    let words = line.trim_matches(['-', '_', ' ', ':']).to_lowercase();
    let ruled = line.starts_with("--") || line.starts_with("__");
    let begun = ["begin doorgestuurd bericht", "begin forwarded message"];
    ruled && WORDS.iter().any(|w| words.starts_with(w)) && words.chars().count() <= 60
        || line.ends_with(':') && begun.contains(&words.as_str())
}

/// Whether the line is a rule of underscores, as Outlook draws above an older message.
pub(super) fn is_rule(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 10 && line.bytes().all(|byte| byte == b'_')
}

/// Whether the line is the mark that separates a signature (RFC 3676, 4.3), or all that a form left
/// of it.
pub(super) fn is_dashes(line: &str) -> bool {
    line.trim_end() == "--"
}

/// Whether the line closes a letter: "Met vriendelijke groet,".
pub(super) fn is_closing(line: &str) -> bool {
    const BEGINNINGS: [&str; 24] = [
        "met vriendelijke gr",
        "met hartelijke gr",
        "met een vriendelijke gr",
        "vriendelijke gr",
        "vriendelijk gegroet",
        "hartelijke gr",
        "met beleefde gr",
        "met groet",
        "beste groet",
        "warme groet",
        "lieve groet",
        "sportieve groet",
        "hoogachtend",
        "met hoogachting",
        "met de meeste hoogachting",
        "kind regards",
        "kindest regards",
        "best regards",
        "warm regards",
        "with kind regards",
        "yours sincerely",
        "yours faithfully",
        "yours truly",
        "best wishes",
    ];
    const WHOLE: [&str; 11] = [
        "groet",
        "groeten",
        "groetjes",
        "gr",
        "mvg",
        "regards",
        "many thanks and regards",
        "best",
        "cheers",
        "sincerely",
        "cordialement",
    ];
    let line = line.trim().to_lowercase();
    if line.ends_with('?') || line.split_whitespace().count() > 6 {
        return false;
    }
    let bare = line.trim_end_matches([',', '.', '!', ' ']);
    BEGINNINGS.iter().any(|begin| line.starts_with(begin))
        || WHOLE.contains(&bare)
        || ["groeten uit ", "groetjes uit ", "groeten van ", "groetjes van "]
            .iter()
            .any(|begin| line.starts_with(begin))
}

/// Whether a program put the line below the message: "Verzonden vanaf mijn iPhone".
pub(super) fn is_device(line: &str) -> bool {
    const BEGINNINGS: [&str; 11] = [
        "verzonden vanaf ",
        "verstuurd vanaf ",
        "verzonden met ",
        "verstuurd met ",
        "verzonden via ",
        "verstuurd via ",
        "sent from ",
        "sent via ",
        "sent with ",
        "get outlook for ",
        "envoyé de ",
    ];
    const DEVICES: [&str; 18] = [
        "mijn",
        "my ",
        "mon ",
        "iphone",
        "ipad",
        "android",
        "samsung",
        "galaxy",
        "outlook",
        "mail",
        "telefoon",
        "phone",
        "mobiel",
        "mobile",
        "tablet",
        "gmail",
        "blackberry",
        "huawei",
    ];
    let line = line.trim().to_lowercase();
    line.split_whitespace().count() <= 8
        && (BEGINNINGS.iter().any(|begin| line.starts_with(begin))
            && DEVICES.iter().any(|device| line.contains(device))
            || line.starts_with("outlook voor ") && line.contains("downloaden"))
}

/// Whether the line is of the small print that organisations put below every message.
pub(super) fn is_small_print(line: &str) -> bool {
    const PHRASES: [&str; 16] = [
        "uitsluitend bestemd voor",
        "alleen bestemd voor de geadresseerde",
        "denk aan het milieu voor",
        "kan vertrouwelijke informatie bevatten",
        "aan dit bericht kunnen geen rechten",
        "aan deze e-mail kunnen geen rechten",
        "intended recipient",
        "intended solely for",
        "received it in error",
        "received this e-mail in error",
        "received this email in error",
        "received this message in error",
        "consider the environment before",
        "any attachments are confidential",
        "may contain confidential",
        "and any attachments is confidential",
    ];
    let line = line.to_lowercase();
    PHRASES.iter().any(|phrase| line.contains(phrase))
}

/// Whether the line begins a postscript.
pub(super) fn is_postscript(line: &str) -> bool {
    let line = line.trim_start().to_lowercase();
    ["p.s.", "ps:", "ps.", "ps ", "p.s:", "p.s ", "nb:", "n.b."].iter().any(|m| line.starts_with(m))
}

/// Whether a line under a closing says something, rather than naming a person, place or number.
///
/// A sentence has words that are not names, so mostly in lower case, and an end; in a signature one
/// of the two is missing.
pub(super) fn says_something(line: &str) -> bool {
    let trimmed = line.trim();
    let listed = ["bijlage", "attachment", "enclosed", "encl", "tel", "www.", "http"];
    let lower = trimmed.to_lowercase();
    if trimmed.contains(" | ") || listed.iter().any(|word| lower.starts_with(word)) {
        return false;
    }
    let first = trimmed.split_whitespace().filter_map(|word| {
        word.chars().next().filter(|c| c.is_alphabetic() || matches!(c, '\'' | '"' | '‘' | '“'))
    });
    let (mut words, mut small) = (0, 0);
    for letter in first {
        words += 1;
        small += usize::from(!letter.is_uppercase());
    }
    let asks = trimmed.ends_with(['?', '!']);
    let ends = trimmed.ends_with(['.', '…', ')', '"', '”']);
    match () {
        () if asks => words >= 2,
        () if ends => words >= 4 && small * 2 >= words,
        () => words >= 7 && small * 3 >= words * 2,
    }
}
