//! Writes a pruned vocabulary as `tokenizer.json` for the `tokenizers` crate.
//!
//! May depend on: `model::base`, `serde_json`, `unicode-normalization`.

use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization;

use super::base::{BaseError, MARKS, Vocabulary};

/// The `tokenizer.json` that reads text as the base encoder's own tokenizer does, with only the
/// pieces `ids`, which begin with the marks `<s> <pad> </s> <unk>`.
///
/// Normalisation is NFKC after the file's own replacements of control and space characters. Full
/// NFKC composes what was typed in pieces (`e` + U+0301), as the original SentencePiece rules do;
/// the file's table, which goes character by character, does not.
///
/// # Errors
/// [`BaseError::Corrupt`] where the file's table says something else than NFKC.
pub fn tokenizer_json(vocabulary: &Vocabulary, ids: &[usize]) -> Result<Value, BaseError> {
    let (mut dropped, mut spaces) = (String::new(), String::new());
    for (&from, to) in &vocabulary.normalisation {
        let class = match to.as_str() {
            "" => &mut dropped,
            _ if from.nfkc().eq(to.chars()) => continue,
            " " => &mut spaces,
            _ => {
                let what = format!("normalisation of U+{:04X}", u32::from(from));
                let reason = format!("{to:?} is not its NFKC form");
                return Err(BaseError::Corrupt { what, at: 0, reason });
            }
        };
        class.push_str(&format!("\\x{{{:X}}}", u32::from(from)));
    }
    let replace = |class: &str, by: &str| {
        let pattern = format!("[{class}]");
        json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": by})
    };
    let mut normalizers = Vec::new();
    if !dropped.is_empty() {
        normalizers.push(replace(&dropped, ""));
    }
    if !spaces.is_empty() {
        normalizers.push(replace(&spaces, " "));
    }
    normalizers.push(json!({"type": "NFKC"}));

    // Unigram would find the marks in what people type. A control character in front, which the
    // normaliser takes out of every text, keeps them apart; ids and meaning stay.
    let guard = dropped_character(vocabulary)?;
    let pieces: Vec<Value> = ids
        .iter()
        .map(|&id| {
            let (piece, score) = &vocabulary.pieces[id];
            if id < MARKS {
                json!([format!("{guard}{piece}"), score])
            } else {
                json!([piece, score])
            }
        })
        .collect();
    let mark = |id: usize| json!({"SpecialToken": {"id": vocabulary.pieces[id].0, "type_id": 0}});
    let special = |id: usize| {
        let name = &vocabulary.pieces[id].0;
        json!({"id": name, "ids": [id], "tokens": [name]})
    };
    let (begin, end) = (&vocabulary.pieces[0].0, &vocabulary.pieces[2].0);
    let sequence = |name: &str, segment: u8| json!({"Sequence": {"id": name, "type_id": segment}});
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [mark(0), sequence("A", 0), mark(2)],
            "pair": [mark(0), sequence("A", 0), mark(2), mark(2), sequence("B", 0), mark(2)],
            "special_tokens": {begin: special(0), end: special(2)},
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces, "byte_fallback": false},
    }))
}

fn dropped_character(vocabulary: &Vocabulary) -> Result<char, BaseError> {
    let dropped = vocabulary.normalisation.iter().find(|(_, to)| to.is_empty());
    dropped.map(|(&from, _)| from).ok_or_else(|| BaseError::Corrupt {
        what: "normalisation".into(),
        at: 0,
        reason: "no control character is taken out".into(),
    })
}
