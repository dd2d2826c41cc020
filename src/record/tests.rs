//! Reading records: what a file means, and what a bad line costs.

use super::lines::MAX_LINE_BYTES;
use super::*;
use proptest::prelude::*;

fn read(bytes: impl Into<Vec<u8>>, format: Format) -> Vec<Result<(u64, LabelledRecord), String>> {
    let reader = Box::new(io::Cursor::new(bytes.into()));
    let records = Records::from_reader(reader, "test", format).unwrap();
    records.map(|r| r.map_err(|e| e.to_string())).collect()
}

fn one(json: &str) -> Result<LabelledRecord, String> {
    let mut all = read(json, Format::Jsonl);
    assert_eq!(all.len(), 1);
    all.remove(0).map(|(_, record)| record)
}

fn refusal(json: &str) -> String {
    one(json).unwrap_err()
}

fn header_error(bytes: &[u8], format: Format) -> String {
    let reader = Box::new(io::Cursor::new(bytes.to_vec()));
    Records::from_reader(reader, "test", format).err().unwrap().to_string()
}

#[test]
fn a_full_record_reads_as_the_guideline_has_it() {
    let record =
        one(r#"{"id":"telecom-0001","text":"Hoi\nwerkt niet","lang":"nl","channel":"twitter",
            "sector":"telecom","intents":["complaint","question"],"sentiment":"negative",
            "urgent":false,"origin":"written","sure":false,"context":"Storing?","extra":[1]}"#
            .replace('\n', " ")
            .as_str())
        .unwrap();
    let expected = LabelledRecord {
        context: Some("Storing?".into()),
        lang: Some(Language::Dutch),
        channel: Some(Channel::Twitter),
        sector: Some("telecom".into()),
        intents: [Some(true), Some(true), Some(false), Some(false)],
        sentiment: Some(Sentiment::Negative),
        urgent: Some(false),
        sure: false,
        origin: Some("written".into()),
        ..LabelledRecord::unlabelled("telecom-0001", "Hoi\nwerkt niet")
    };
    assert_eq!(record, expected);
}

#[test]
fn what_is_not_labelled_is_unknown() {
    assert_eq!(one(r#"{"text":"hoi"}"#).unwrap(), LabelledRecord::unlabelled("", "hoi"));
    assert_eq!(one(r#"{"id":7,"text":"hoi"}"#).unwrap().id, "7");
    let none = one(r#"{"text":"hoi","intents":[]}"#).unwrap();
    assert_eq!(none.intents, [Some(false); 4]);
    let some = one(r#"{"text":"hoi","intents_some":["question"],"not":["compliment"]}"#).unwrap();
    assert_eq!(some.intents, [Some(true), None, Some(false), None]);
    let not = one(r#"{"text":"hoi","not":["factual_error"]}"#).unwrap();
    assert_eq!(not.intents, [None, None, None, Some(false)]);
}

#[test]
fn refusals_name_field_and_label_but_no_text() {
    assert_eq!(
        refusal(r#"{"text":"x","intents":["praise"]}"#),
        "line 1: intents: unknown name `praise`"
    );
    assert_eq!(refusal(r#"{"text":"x","not":["y"]}"#), "line 1: not: unknown name `y`");
    assert_eq!(
        refusal(r#"{"text":"x","sentiment":"cross"}"#),
        "line 1: sentiment: unknown name `cross`"
    );
    assert_eq!(
        refusal(r#"{"text":"x","intents_some":["question"],"not":["question"]}"#),
        "line 1: not: `question` is in intents_some too"
    );
    assert_eq!(refusal(r#"{"id":"1"}"#), "line 1: text: is missing");
    assert_eq!(refusal(r#"{"text":" \n"}"#), "line 1: text: is empty");
    assert_eq!(refusal(r#"["canary"]"#), "line 1: not a JSON object");
    for json in [
        r#"{"text":["canary"]}"#,
        r#"{"text":"x","urgent":"canary"}"#,
        r#"{"text":"x","sentiment":"my canary has died!"}"#,
        r#"{"text":"x","intents":["my canary has died!"]}"#,
        r#"{"text":"canary"#,
        r#"{"text":"canary" "canary"}"#,
        r#"{"text":"canary \q"}"#,
        r#"{"text":"x","intents":["question"],"not":[],"id":"canary"}"#,
    ] {
        let reason = refusal(json);
        assert!(!reason.contains("canary"), "{reason}");
    }
}

#[test]
fn a_bad_line_costs_that_line_only() {
    let mut bytes = b"\xEF\xBB\xBF{\"text\":\"a\"}\r\n\r\n{bad\n{\"text\":\"\xFF\"}\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', MAX_LINE_BYTES + 1));
    bytes.extend(b"\n  \n{\"text\":\"b\"}");
    let all = read(bytes, Format::Jsonl);
    let lines: Vec<u64> = all.iter().flatten().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 7]);
    let reasons: Vec<_> = all.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].starts_with("line 3: not valid JSON at column 2"), "{}", reasons[0]);
    assert_eq!(reasons[1], "line 4: not valid UTF-8 at byte 10");
    assert_eq!(reasons[2], "line 5: longer than 1048576 bytes");
}

#[test]
fn a_source_that_fails_ends_with_one_error() {
    struct Failing(bool);
    impl io::Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("unplugged"));
            }
            let line = b"{\"text\":\"a\"}\n";
            buf[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }
    let reader = Box::new(BufReader::new(Failing(false)));
    let all: Vec<_> = Records::from_reader(reader, "test", Format::Jsonl).unwrap().collect();
    assert_eq!(all.len(), 2);
    let error = all[1].as_ref().unwrap_err();
    assert_eq!((error.line, error.reason.contains("unplugged")), (2, true));
}

#[test]
fn a_csv_row_reads_like_the_json_object() {
    let csv = "\u{feff}ID;Text;Channel;Lang;Context;Intents;Sentiment;Urgent;Klant\r\n\
        1;\"Waar; is\r\nmijn \"\"pakket\"\"?\";chat;nl;;question|complaint;negative;nee;x\r\n\
        \r\n\
        2;prima 5\" scherm;;;;none;;;\r\n\
        3;hoi;;;;;;JA;";
    let all = read(csv, Format::Csv);
    let first = LabelledRecord {
        channel: Some(Channel::Chat),
        lang: Some(Language::Dutch),
        intents: [Some(true), Some(true), Some(false), Some(false)],
        sentiment: Some(Sentiment::Negative),
        urgent: Some(false),
        ..LabelledRecord::unlabelled("1", "Waar; is\r\nmijn \"pakket\"?")
    };
    let second = LabelledRecord {
        intents: [Some(false); 4],
        ..LabelledRecord::unlabelled("2", "prima 5\" scherm")
    };
    let third = LabelledRecord { urgent: Some(true), ..LabelledRecord::unlabelled("3", "hoi") };
    assert_eq!(all, [Ok((2, first)), Ok((5, second)), Ok((6, third))]);
}

#[test]
fn the_delimiter_is_the_one_that_shows_a_text_column() {
    for (header, row) in [
        ("text,id", "a;b,1"),
        ("text;id", "a,b;1"),
        ("text\tid", "a;b,c\t1"),
        ("id,\"text\"", "1,a"),
        ("text", "a"),
    ] {
        let all = read(format!("{header}\n{row}\n"), Format::Csv);
        let (line, record) = all[0].as_ref().unwrap();
        assert_eq!((*line, record.text.starts_with('a'), all.len()), (2, true, 1), "{header}");
    }
    assert_eq!(read("text\tid\na,b\t1\n", Format::Tsv)[0].as_ref().unwrap().1.text, "a,b");
    for (header, reason) in [
        ("id;body\n1;a\n", "test: the header row has no column `text`"),
        ("text;text\n", "test: the header row has more than one column `text`"),
        ("\n\n", "test: has no header row"),
    ] {
        assert_eq!(header_error(header.as_bytes(), Format::Csv), reason);
    }
    assert!(header_error(b"text;id\n", Format::Tsv).contains("no column `text`"));
}

#[test]
fn a_bad_row_costs_that_row_only() {
    let mut csv = b"id,text,intents\n1,a\n2,b,cry\n3,\xFF,\n4,\"never closed,\n5,c,\n".to_vec();
    csv.extend(b"6,\"d\nd\",question\n7,\" \",\n8,\"open\n9,e,none");
    let all = read(csv, Format::Csv);
    let texts: Vec<_> = all.iter().flatten().map(|(n, r)| (*n, r.text.as_str())).collect();
    let reasons: Vec<_> = all.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!(reasons[0], "line 2: has 2 fields; the header has 3");
    assert_eq!(reasons[1], "line 3: intents: unknown name `cry`");
    assert_eq!(reasons[2], "line 4: not valid UTF-8 at byte 3");
    // The stray quote of row 4 finds its end in the first quote of row 6.
    assert!(reasons[3].starts_with("line 5: has "), "{}", reasons[3]);
    assert_eq!(
        reasons.last().unwrap().as_str(),
        "line 10: opens a quoted field that is never closed"
    );
    assert_eq!(texts.last(), Some(&(11, "e")));
}

#[test]
fn a_quote_that_never_closes_does_not_swallow_the_rest() {
    let mut csv = String::from("id,text\n0,\"oops\n");
    let rows = 2 * MAX_LINE_BYTES / 20;
    for n in 1..=rows {
        csv.push_str(&format!("{n},a message of some length\n"));
    }
    let all = read(csv, Format::Csv);
    assert_eq!(all[0], Err("line 2: opens a quoted field that is never closed".into()));
    let ids: Vec<_> = all[1..].iter().flatten().map(|(line, r)| (*line, r.id.clone())).collect();
    assert_eq!(ids.len(), rows);
    assert!(
        ids.iter()
            .enumerate()
            .all(|(at, (line, id))| { *line == at as u64 + 3 && *id == (at + 1).to_string() })
    );
}

#[test]
fn formats_go_by_extension() {
    for (name, format) in [
        ("a.jsonl", Some(Format::Jsonl)),
        ("a.NDJSON", Some(Format::Jsonl)),
        ("a.csv", Some(Format::Csv)),
        ("a.tsv", Some(Format::Tsv)),
        ("a.json", None),
        ("csv", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let text = "[a-zé\"',;|\t\r\n 🙂]{0,20}x[a-z\"',;\t\n ]{0,10}";
    proptest::collection::vec(text, 0..8)
}

proptest! {
    #[test]
    fn csv_that_a_csv_writer_wrote_reads_back(texts in texts(), delimiter in 0..3_usize) {
        let delimiter = b",;\t"[delimiter];
        let mut writer =
            csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        writer.write_record(["id", "text"]).unwrap();
        let mut line = 2;
        let mut expected = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            writer.write_record([&n.to_string(), text]).unwrap();
            expected.push((line, n.to_string(), text.clone()));
            line += 1 + text.matches('\n').count() as u64;
        }
        let read = read(writer.into_inner().unwrap(), Format::Csv);
        let read: Vec<_> =
            read.into_iter().map(|r| r.unwrap()).map(|(n, r)| (n, r.id, r.text)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn json_that_a_json_writer_wrote_reads_back(texts in texts()) {
        let lines: Vec<_> =
            texts.iter().map(|text| serde_json::json!({ "text": text }).to_string()).collect();
        let read = read(lines.join("\n"), Format::Jsonl);
        let read: Vec<_> = read.into_iter().map(|r| r.unwrap().1.text).collect();
        prop_assert_eq!(read, texts);
    }

    #[test]
    fn no_bytes_can_stop_the_reading(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\",;\n\r{}".to_vec())], 0..200),
    ) {
        let lines = bytes.split(|b| *b == b'\n').count() as u64;
        let mut csv = b"text,id\n".to_vec();
        csv.extend(&bytes);
        for (format, bytes, lines) in [(Format::Jsonl, bytes, lines), (Format::Csv, csv, lines + 1)] {
            let reader = Box::new(io::Cursor::new(bytes));
            let mut last = 0;
            for record in Records::from_reader(reader, "test", format).unwrap() {
                let line = record.map_or_else(|e| e.line, |(line, _)| line);
                prop_assert!(last < line && line <= lines, "{} after {}", line, last);
                last = line;
            }
        }
    }
}
