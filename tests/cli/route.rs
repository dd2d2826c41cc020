//! `klankbord route`: counts by rule, where each message goes, and what is wrong with a policy.

use super::*;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/webcare.toml");

#[test]
fn every_message_goes_somewhere_and_counts_and_lines_agree() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("messages.jsonl");
    let texts = [
        "Hoe laat gaat de balie open?",
        "Al drie keer gebeld en nog steeds geen antwoord. Waardeloos!",
        "Top geholpen, dank jullie wel!",
        "De lift op het station doet het niet.",
    ];
    let lines: String = texts.iter().map(|text| json!({"text": text}).to_string() + "\n").collect();
    fs::write(&file, lines).unwrap();
    let file = file.to_str().unwrap();

    let counted = run(&["route", "--policy", EXAMPLE, file]);
    assert!(counted.status.success());
    let counted = String::from_utf8(counted.stdout).unwrap();
    let told = run(&["route", "--policy", EXAMPLE, "--json", file]);
    let told: Vec<Value> = String::from_utf8(told.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told.len(), texts.len());
    for line in counted.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let count: usize = words[words.len() - 2].parse().unwrap();
        let of_rule =
            |told: &&Value| line.starts_with(&format!("{}  ", told["rule"].as_str().unwrap()));
        assert_eq!(told.iter().filter(of_rule).count(), count, "{line}");
    }
    assert_eq!(counted.lines().count(), 10, "nine rules and a head:\n{counted}");

    // In a crisis complaints go elsewhere.
    let crisis = run(&["route", "--policy", EXAMPLE, "--json", "--crisis", file]);
    let crisis = String::from_utf8(crisis.stdout).unwrap();
    assert!(crisis.lines().nth(1).unwrap().contains("crisis: klachten"), "{crisis}");
}

#[test]
fn a_policy_is_checked_without_messages() {
    let right = run(&["route", "--policy", EXAMPLE]);
    assert!(right.status.success());
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("policy.toml");
    fs::write(&file, "[queues.a]\n[[rules]]\nname = \"x\"\nqueue = \"b\"\nurgent = 1\n").unwrap();
    let wrong = run(&["route", "--policy", file.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8(wrong.stderr).unwrap();
    for what in ["line 2: there is no queue \"b\"", "line 5: urgent is not true or false"] {
        assert!(said.contains(what), "{said}");
    }
}
