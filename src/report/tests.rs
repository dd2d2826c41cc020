//! The page: what it must hold, and what it must not, whatever a month was like.

mod look;
mod numbers;

use super::*;
use crate::kpi::counts::Adjusted;
use crate::message::{Intent, Sentiment};

const HOSTILE: &str =
    "</text></title></svg><script src='https://evil.example/x'></script> \"a\" & 'b' <img src=x>";

fn totals(messages: u64) -> Totals {
    let part = |percent: u64| messages * percent / 100;
    Totals {
        messages,
        questions: part(41),
        complaints: part(27),
        compliments: part(14),
        factual_errors: part(3),
        urgent: part(6),
        needs_review: part(11),
        negative: part(31),
        neutral: part(47),
        positive: part(22),
        adjusted: Some(Adjusted {
            questions: 4871.3,
            complaints: 3482.4,
            compliments: 1829.2,
            factual_errors: 329.1,
            negative: 3975.2,
            positive: 2815.6,
        }),
        answerable: part(60),
        answered: part(54),
        answered_known: true,
        response_p50_s: Some(4_380.0),
        response_p90_s: Some(31_500.0),
        net: -0.0875,
        net_low: -0.0912,
        net_high: -0.0631,
    }
}

fn report(language: Language) -> Report {
    let day = |day: u8| Day {
        day,
        weekday: (day + 5) % 7,
        messages: 1_000 + u64::from(day),
        questions: 400,
        complaints: 200 + u64::from(day),
        compliments: 150,
        factual_errors: 31,
        negative: 310,
        neutral: 490,
        positive: 200 + u64::from(day),
        expected_complaints: Some(187.5),
        crisis: day == 12,
    };
    let months = (1..=3).map(|month| MonthTotals {
        month: Month { year: 2026, month },
        totals: totals(10_000 + u64::from(month)),
    });
    let part = |name: &str, n| Part { name: name.into(), totals: totals(n) };
    let change = |measure, now, before, p_value| Change { measure, now, before, p_value };
    Report {
        language,
        organisation: Some(HOSTILE.into()),
        period: Month { year: 2026, month: 3 },
        previous: Some(Month { year: 2026, month: 2 }),
        time_zone: "Europe/Amsterdam".into(),
        made: "2026-04-01".into(),
        model: Some(Model { version: "2.1".into(), digest: "sha256:abc".into() }),
        totals: totals(12_646),
        before: Some(totals(9_255)),
        changes: vec![
            change(Measure::Messages, 12_646.0, 9_255.0, Some(0.0001)),
            change(Measure::Complaints, 0.27, 0.25, Some(0.0499)),
            change(Measure::Net, -0.08, -0.03, Some(0.21)),
        ],
        days: (1..=31).map(day).collect(),
        months: months.collect(),
        channels: vec![part("WhatsApp", 3_121), part(HOSTILE, 4_312)],
        brands: vec![part(HOSTILE, 5_511), part("", 731)],
        words: Some(vec![RisingWord {
            word: HOSTILE.into(),
            now: 412,
            before: 38,
            expected: 44.2,
            score: 31.4,
        }]),
        crises: vec![CrisisDay {
            day: 12,
            from_hour: 9,
            to_hour: 21,
            observed: 541,
            expected: 62.3,
        }],
        crisis_watch: true,
        samples: Some(vec![Sample {
            day: 12,
            channel: Some(HOSTILE.into()),
            intents: vec![Intent::Complaint, Intent::FactualError],
            sentiment: Sentiment::Negative,
            text: HOSTILE.into(),
        }]),
    }
}

#[test]
fn what_strangers_write_stays_text() {
    for language in [Language::Dutch, Language::English] {
        let page = page(&report(language));
        for markup in ["<script", "<img", "</text></title>", "'></script"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&lt;script src='https://evil.example/x'&gt;"));
        assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
        // Where the chart cuts the name off, in its own text.
        assert!(page.contains(">&lt;/text&gt;&lt;/title&gt;&lt;/svg&gt;&lt;s…</text>"));
    }
}

#[test]
fn the_library_escapes_what_it_is_given() {
    let rows = vec![chart::Row {
        name: HOSTILE.into(),
        values: vec![Some(1.0), None],
        paint: paint::Paint::Complaint,
        shape: chart::Shape::Stack,
    }];
    let labels = vec![HOSTILE.to_owned(); 2];
    let language = Language::Dutch;
    let columns = chart::Columns { labels, rows, highlights: Vec::new(), language };
    let svg = columns.draw(chart::WIDE).unwrap();
    assert!(!svg.contains("<script") && !svg.contains("<img"), "{svg}");
    assert!(svg.contains("&lt;script"), "{svg}");
    assert_eq!(svg.matches("</svg>").count(), 1);
}

#[test]
fn the_page_asks_nothing_of_anyone() {
    let mut report = report(Language::Dutch);
    let plain = |part: &mut Part| part.name = "plain".into();
    report.organisation = None;
    report.channels.iter_mut().chain(&mut report.brands).for_each(plain);
    (report.words, report.samples) = (None, None);
    let page = page(&report).replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for reference in ["http://", "https://", "src=", "href", "url(", "@import", "<script", "<link"]
    {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    assert!(page.contains("<meta name=\"color-scheme\""));
}

#[test]
fn the_language_is_the_one_asked_for() {
    let (dutch, english) = (page(&report(Language::Dutch)), page(&report(Language::English)));
    for (page, right, wrong) in [
        (&dutch, ["<html lang=\"nl\"", "maart 2026", "12.646", "Klachten"], ["March", "12,646"]),
        (
            &english,
            ["<html lang=\"en\"", "March 2026", "12,646", "Complaints"],
            ["maart", "12.646"],
        ),
    ] {
        right.iter().for_each(|text| assert!(page.contains(text), "{text}"));
        wrong.iter().for_each(|text| assert!(!page.contains(text), "{text}"));
    }
    // The axes too.
    assert!(dutch.contains("\n1.500\n</text>"));
    assert!(english.contains("\n1,500\n</text>"));
}

#[test]
fn every_text_takes_the_same_values_in_both_languages() {
    for (name, dutch, english) in words::PAIRS {
        assert!(!dutch.is_empty() && !english.is_empty(), "{name}");
        assert_eq!(dutch.matches("{}").count(), english.matches("{}").count(), "{name}");
    }
    assert_eq!(words::fill("{} of {}", &["{}", "2"]), "{} of 2");
}

#[test]
fn every_chart_has_a_name_a_description_and_a_table() {
    let page = page(&report(Language::English));
    let charts = page.matches("<svg ").count();
    // Days twice, months, net sentiment, channels, brands, response times: wide and narrow.
    assert_eq!(charts, 14);
    assert_eq!(page.matches("<svg role=\"img\" aria-labelledby=\"").count(), charts);
    for (at, _) in page.match_indices("aria-labelledby=\"") {
        let ids = page[at..].split('"').nth(1).unwrap();
        ids.split(' ').for_each(|id| {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        });
    }
    let tables = page.matches("<table>").count();
    assert_eq!(page.matches("<details").count(), 6);
    assert_eq!(page.matches("<caption>").count(), tables);
    assert!(!page.contains("<th>"), "every head has a scope");
}

#[test]
fn significance_is_said_in_words() {
    let page = page(&report(Language::English));
    assert!(page.contains("significant (p\u{a0}&lt;\u{a0}0.001)"));
    assert!(page.contains("significant (p\u{a0}=\u{a0}0.049)"));
    assert!(page.contains("not significant (p\u{a0}=\u{a0}0.21)"));
    assert!(page.contains("+36.6%") && page.contains("+2.0 percentage points"));
}

#[test]
fn what_is_not_given_is_not_shown() {
    let mut report = report(Language::English);
    let whole = page(&report);
    assert!(whole.contains("Sample messages") && whole.contains("Brands"));
    (report.samples, report.words) = (None, None);
    report.brands.truncate(1);
    report.crises.clear();
    report.crisis_watch = false;
    let page = page(&report);
    assert!(!page.contains("Sample messages") && !page.contains("Brands"));
    assert!(!page.contains("keep it where they may be kept"));
    assert!(page.contains("The texts of the messages were not given."));
    assert!(page.contains("too little history"));
}

#[test]
fn any_month_makes_a_page() {
    for language in [Language::Dutch, Language::English] {
        for last in [0, 1, 28, 29, 30, 31] {
            let mut empty = Report { language, ..Report::default() };
            empty.days = (1..=last).map(|day| Day { day, ..Day::default() }).collect();
            empty.months = vec![MonthTotals::default(); usize::from(last).min(13)];
            empty.channels = vec![Part::default(); 2];
            empty.brands = vec![Part::default(); 2];
            empty.previous = Some(Month { year: 0, month: 13 });
            empty.before = Some(Totals::default());
            empty.changes =
                vec![Change { measure: Measure::Messages, now: 0.0, before: 0.0, p_value: None }];
            empty.crises = vec![CrisisDay::default()];
            empty.words = Some(Vec::new());
            empty.samples = Some(Vec::new());
            let page = page(&empty);
            assert!(page.ends_with("</html>"));
            for broken in ["NaN", "inf", "null"] {
                assert!(!page.contains(&format!(">{broken}")), "{broken}");
                assert!(!page.contains(&format!("\"{broken}")), "{broken}");
            }
            let mut full = report(language);
            full.days.truncate(usize::from(last));
            assert!(super::page(&full).ends_with("</html>"));
        }
    }
}

#[test]
fn what_is_out_of_all_bounds_makes_a_page() {
    let mut report = report(Language::Dutch);
    let long = "x".repeat(200);
    report.brands = (0..40).map(|n| Part { name: long.clone(), totals: totals(n) }).collect();
    report.days[3].messages = u64::MAX;
    report.days[3].negative = u64::MAX;
    report.days[4].expected_complaints = Some(f64::NAN);
    report.days[5].weekday = 200;
    report.totals.net = f64::NAN;
    report.months[1].totals.net_low = f64::NEG_INFINITY;
    report.channels[0].totals.response_p50_s = Some(f64::INFINITY);
    report.channels[1].totals.response_p50_s = Some(-1.0);
    let page = page(&report);
    assert!(page.contains(&long));
    assert!(page.contains("De figuur toont de 12 grootste; de tabel toont alle 40."));
    for broken in ["NaN", ">inf", "\"inf", "-inf"] {
        let at = page.find(broken).map(|at| page[..at].chars().rev().take(80).collect::<String>());
        let before = at.map(|text| text.chars().rev().collect::<String>());
        assert_eq!(before, None, "{broken}");
    }
}
