//! Numbers: as each language writes them, and every one of the report in its table.

use super::*;

/// The cells of the row that begins with `name`, in the table with `caption`.
fn cells(page: &str, caption: &str, name: &str) -> Vec<String> {
    let table = page
        .split("<table>")
        .skip(1)
        .find(|table| table.split("</caption>").next().is_some_and(|head| head.contains(caption)));
    let table = table.unwrap_or_else(|| panic!("no table {caption}"));
    let row = table.split("<tr").find(|row| {
        row.split("</th>").next().is_some_and(|head| head.ends_with(&format!(">{name}")))
    });
    let row = row.unwrap_or_else(|| panic!("no row {name} in {table}"));
    let cells = row.split("<td>").skip(1).filter_map(|cell| cell.split("</td>").next());
    cells
        .map(|cell| {
            let texts =
                cell.split('<').map(|part| part.split_once('>').map_or(part, |part| part.1));
            texts.collect::<Vec<_>>().concat()
        })
        .collect()
}

#[test]
fn tables_hold_every_number() {
    let page = page(&report(Language::English));
    let day = cells(&page, "By day, March 2026", "Wed 4");
    assert_eq!(day, ["1,004", "400", "204", "187.5", "150", "31", "310", "490", "204"]);
    let part = cells(&page, "Messages by channel", "WhatsApp");
    assert_eq!(
        part,
        [
            "3,121",
            "1,279 ≈ 4,871",
            "842 ≈ 3,482",
            "27.0%",
            "436 ≈ 1,829",
            "93 ≈ 329",
            "967 ≈ 3,975",
            "1,466",
            "686 ≈ 2,816",
            "90.0%",
            "−0.09",
        ]
    );
    let unnamed = cells(&page, "Messages by brand", "(no name)");
    assert_eq!(unnamed[0], "731");
    let month = cells(&page, "By month", "February 2026");
    assert_eq!(month[..3], ["10,002", "4,100 ≈ 4,871", "2,700 ≈ 3,482"]);
    let net = cells(&page, "Net sentiment by month", "March 2026");
    assert_eq!(net, ["31.0%", "47.0%", "22.0%", "−0.09", "−0.09", "−0.06"]);
    let response = cells(&page, "Response time by channel", "WhatsApp");
    assert_eq!(response, ["1\u{a0}h 13\u{a0}min", "8\u{a0}h 45\u{a0}min"]);
    let crisis = cells(&page, "Complaints in those hours", "▼ 12 March");
    assert_eq!(crisis, ["09:00–21:00", "541", "62.3", "8.7"]);
    let complaints = cells(&page, "March 2026 beside February 2026", "Complaints");
    assert_eq!(complaints, ["3,414", "27.0%", "3,482", "2,498", "27.0%", "3,482"]);
    let answered = cells(&page, "March 2026 beside February 2026", "Answered");
    assert_eq!(answered, ["6,828", "90.0%", "-", "4,997", "90.0%", "-"]);
    for word in ["412", "38", "44.2", "31.4"] {
        assert!(page.contains(&format!("<td>{word}</td>")), "{word}");
    }
}

#[test]
fn nothing_of_nothing_is_a_dash() {
    let mut report = report(Language::Dutch);
    report.channels[0].totals = Totals::default();
    let part = cells(&page(&report), "Berichten per kanaal", "WhatsApp");
    assert_eq!(part, ["0", "0", "0", "-", "0", "0", "0", "0", "0", "-", "-"]);
}

#[test]
fn numbers_as_each_language_writes_them() {
    let (nl, en) = (Language::Dutch, Language::English);
    assert_eq!([nl.count(0), nl.count(999), nl.count(1_000)], ["0", "999", "1.000"]);
    assert_eq!(en.count(u64::MAX), "18,446,744,073,709,551,615");
    assert_eq!([nl.decimal(1234.56, 1), en.decimal(1234.56, 1)], ["1.234,6", "1,234.6"]);
    assert_eq!([nl.decimal(-0.04, 1), nl.decimal(-0.06, 1)], ["0,0", "−0,1"]);
    assert_eq!([en.signed(0.04, 1), en.signed(0.06, 1), en.signed(-2.0, 0)], ["0.0", "+0.1", "−2"]);
    assert_eq!(
        [nl.percent(Some(0.1234)), nl.percent(None), en.percent(Some(f64::NAN))],
        ["12,3%", "-", "-"]
    );
    assert_eq!(number::share(1, 0), None);
    assert_eq!([nl.list(&[]), nl.list(&["a".into()])], ["", "a"]);
    assert_eq!(nl.list(&["a".into(), "b".into(), "c".into()]), "a, b en c");
    assert_eq!(en.month(Month { year: 2026, month: 12 }), "December 2026");
    assert_eq!(nl.month(Month { year: 2026, month: 0 }), "0 2026");
    assert_eq!(
        [nl.p_value(0.0499), nl.p_value(0.05)],
        ["p\u{a0}=\u{a0}0,049", "p\u{a0}=\u{a0}0,05"]
    );
}

#[test]
fn durations_round_into_the_next_unit() {
    let of = |seconds| Language::Dutch.duration(Some(seconds)).replace('\u{a0}', " ");
    for (seconds, text) in [
        (0.0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3_569.0, "59 min"),
        (3_599.0, "1 u 00 min"),
        (86_399.0, "1 d 0 u"),
        (183_600.0, "2 d 3 u"),
        (f64::NAN, "-"),
        (-1.0, "-"),
    ] {
        assert_eq!(of(seconds), text, "{seconds}");
    }
    assert_eq!(Language::English.duration(None), "-");
}
