//! The report as a file, and in a real browser where there is one.
//!
//! The browser is Chromium (`chromium` of Debian), `KLANKBORD_CHROMIUM` names another. Without one the test says so and
//! passes, unless `KLANKBORD_REQUIRE_CHROMIUM=1`.

use std::path::Path;
use std::process::Command;

use super::{folder_with, handled, klankbord, path, written};

/// 500 messages, March to July.
fn report(more: &[&str]) -> (tempfile::TempDir, String) {
    let (folder, messages) = folder_with(&handled(&written()));
    let page = folder.path().join("page.html");
    let mut args = vec!["report", path(&messages), "-o", path(&page)];
    args.extend(more);
    klankbord(&args);
    let text = std::fs::read_to_string(&page).unwrap();
    (folder, text)
}

#[test]
fn the_report_has_the_month_s_figures_and_no_message_unless_asked() {
    let (_folder, page) = report(&["--month", "2026-04", "--organisation", "Bakker <Bart>"]);
    assert!(page.contains("lang=\"nl\"") && page.contains("april 2026"));
    assert!(page.contains("Bakker &lt;Bart&gt;") && !page.contains("<Bart>"));
    // A message every seven hours: 30 days, of which the first begins where March left off.
    let april = (0..500i64).filter(|at| {
        let received = super::MARCH + at * 7 * 3600;
        // April in Amsterdam, in summer time.
        (1_774_994_400..1_777_586_400).contains(&received)
    });
    let april = april.count();
    assert!(page.contains(&format!(">{april}<")), "{april} messages are not on the page");
    for record in written() {
        let text = record["text"].as_str().unwrap();
        assert!(text.len() < 40 || !page.contains(&text[..text.floor_char_boundary(40)]));
    }
    let (_folder, english) = report(&["--language", "en", "--samples", "4"]);
    assert!(english.contains("lang=\"en\"") && english.contains("July 2026"));
    let all = written();
    let found = all.iter().filter(|record| {
        // Without what a page writes in another way.
        let text = record["text"].as_str().unwrap();
        let plain = text.split(['&', '<', '>', '"', '\'', '\n']).max_by_key(|part| part.len());
        plain.is_some_and(|part| part.len() >= 30 && english.contains(part))
    });
    assert!((2..=4).contains(&found.count()), "four of July's messages are shown");
    let nothing =
        super::program::program().args(["report", "--month", "2026-13", "x.csv"]).output().unwrap();
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("is not a month such as 2026-10"));
}

fn browser() -> Option<String> {
    let named = std::env::var("KLANKBORD_CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let works = Command::new(&named).arg("--version").output().is_ok_and(|o| o.status.success());
    works.then_some(named)
}

#[test]
fn the_report_opens_in_a_browser_light_dark_and_on_paper() {
    let Some(browser) = browser() else {
        assert!(
            std::env::var("KLANKBORD_REQUIRE_CHROMIUM").is_err(),
            "KLANKBORD_REQUIRE_CHROMIUM is set and there is no chromium"
        );
        eprintln!("skipped: there is no chromium");
        return;
    };
    let (folder, source) = report(&["--month", "2026-05"]);
    let page = format!("file://{}", folder.path().join("page.html").display());
    let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
    let run = |more: &[&str]| {
        let output = Command::new(&browser)
            // In a container there is no sandbox of its own to be had; the page is ours.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--enable-logging=stderr", "--window-size=1200,2400", &profile])
            .args(more)
            .arg(&page)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{more:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!told.contains("CONSOLE"), "the page's console says: {told}");
        output.stdout
    };
    // What the browser makes of it is what we wrote: every chart and table is there.
    let dom = String::from_utf8(run(&["--dump-dom"])).unwrap();
    for part in ["<svg", "<table", "<h2", "<caption"] {
        assert_eq!(dom.matches(part).count(), source.matches(part).count(), "{part}");
        assert!(dom.matches(part).count() >= 3, "{part}");
    }
    let picture = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        let mut args = more.to_vec();
        let shot = format!("--screenshot={}", path.display());
        args.push(&shot);
        run(&args);
        std::fs::read(&path).unwrap()
    };
    let light = picture("light.png", &["--blink-settings=preferredColorScheme=1"]);
    let dark = picture("dark.png", &["--blink-settings=preferredColorScheme=0"]);
    for png in [&light, &dark] {
        // A blank page of this size takes some 10 KB.
        assert!(png.starts_with(b"\x89PNG") && png.len() > 60_000, "{} bytes", png.len());
    }
    assert_ne!(light, dark, "the dark page looks like the light one");
    let paper = folder.path().join("page.pdf");
    run(&[&format!("--print-to-pdf={}", paper.display())]);
    let pdf = std::fs::read(&paper).unwrap();
    assert!(pdf.starts_with(b"%PDF") && pdf.len() > 20_000);
    assert!(Path::new(&paper).exists());
}
