//! Whatever bytes come in, nothing panics, and what is refused is refused in order: requests, files of messages,
//! model folders, texts. `PROPTEST_CASES=250000 cargo test --release fuzz_` runs each for that many cases,
//! those of the configuration and of tokens (unit tests) among them.

mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::io::Cursor;
use std::sync::LazyLock;

use klankbord::message::Message;
use klankbord::model::bundle::Bundle;
use klankbord::reading::Reading;
use klankbord::record::{Format, Records};
use klankbord::rpc::check_request;
use klankbord::tokenise::Tokeniser;
use proptest::prelude::*;

/// Bytes that look a little like protobuf: tags and lengths of our own messages among noise.
fn protobuf() -> impl Strategy<Value = Vec<u8>> {
    let field = (0u8..16, 0u8..6, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(number, kind, body)| {
            let mut bytes = vec![number << 3 | kind];
            if kind == 2 {
                bytes.push(u8::try_from(body.len()).unwrap());
            }
            bytes.extend(body);
            bytes
        },
    );
    let fields = prop::collection::vec(field, 0..8).prop_map(|fields| fields.concat());
    let nested = fields.clone().prop_map(|inner| {
        let length = u8::try_from(inner.len().min(127)).unwrap();
        [&[0x0a, length], &inner[..usize::from(length)]].concat()
    });
    prop_oneof![fields, nested, prop::collection::vec(any::<u8>(), 0..200)]
}

/// Text that tries libraries: marks on marks, joins, controls of direction, surrogates' neighbours, quotes.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,12}",
        Just("\u{200d}\u{fe0f}👩‍👩‍👧‍👦".to_owned()),
        Just("\u{202e}\u{2066}\u{2069}\u{feff}".to_owned()),
        Just("e\u{301}\u{301}\u{301}\u{489}".repeat(9)),
        Just("\u{0}\u{7f}\u{85}\u{2028}\r\n".to_owned()),
        Just("\n> Op 3 mei schreef Jan:\n> hallo\n-- \nMet vriendelijke groet".to_owned()),
        Just("\u{d7ff}\u{e000}\u{ffff}\u{10ffff}".to_owned()),
        Just("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned()),
        "[a-z .!?]{0,30}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

static TOKENISER: LazyLock<Tokeniser> = LazyLock::new(support::tokeniser);

/// A whole small model, as the bytes of its files.
static MODEL: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_base(dir.path());
    let mut files: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
});

proptest! {
    #[test]
    fn fuzz_a_request(bytes in protobuf()) {
        check_request(&bytes);
    }

    #[test]
    fn fuzz_json_lines(text in "[{}\\[\\]\":,a-z\\\\u0-9 \n]{0,200}", noise in prop::collection::vec(any::<u8>(), 0..100)) {
        for bytes in [text.as_bytes(), &noise, format!("{{\"text\":{text:?}}}").as_bytes()] {
            let reader = Box::new(Cursor::new(bytes.to_vec()));
            if let Ok(records) = Records::from_reader(reader, "fuzz", Format::Jsonl) {
                records.for_each(drop);
            }
        }
    }

    #[test]
    fn fuzz_csv(text in "[\",;\t\na-z0-9 ]{0,200}", noise in prop::collection::vec(any::<u8>(), 0..100)) {
        for bytes in [text.as_bytes(), &noise, format!("id,text,intents\n{text}").as_bytes()] {
            let reader = Box::new(Cursor::new(bytes.to_vec()));
            if let Ok(records) = Records::from_reader(reader, "fuzz", Format::Csv) {
                records.for_each(drop);
            }
        }
    }

    /// A file of the model has some bytes changed, or ends early: it is refused, or it is whole.
    #[test]
    fn fuzz_a_model_folder(
        file in 0usize..3, at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..6), cut in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for (index, (name, content)) in MODEL.iter().enumerate() {
            let mut content = content.clone();
            if index == file % MODEL.len() {
                let at = at.index(content.len());
                if cut {
                    content.truncate(at);
                } else {
                    for (to, from) in content[at..].iter_mut().zip(&bytes) {
                        *to = *from;
                    }
                }
            }
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let _ = Bundle::load(dir.path());
    }

    #[test]
    fn fuzz_a_text(text in text(), context in text()) {
        let Ok(message) = Message::new("", text) else { return Ok(()) };
        let message = message.clone().with_context(context).unwrap_or(message);
        let reading = Reading::of(&message, &TOKENISER, true, true);
        let reading = reading.map_err(|_| TestCaseError::fail("it cannot be read"))?;
        for range in reading.sentences.iter().map(|s| &s.range).chain(&reading.quoted) {
            prop_assert!(message.text().get(range.clone()).is_some(), "{range:?}");
        }
        prop_assert!(reading.pieces.iter().all(|piece| !piece.tokens.ids.is_empty()));
    }
}
