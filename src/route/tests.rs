//! What a policy says of messages, and what is said of policies that are wrong.

use std::sync::Arc;

use proptest::prelude::*;

use super::cover::covers;
use super::*;
use crate::message::{Judgement, Language, ModelId};

const EXAMPLE: &str = include_str!("../../examples/webcare.toml");

pub(super) fn verdict(
    intents: [f32; 4],
    urgent: f32,
    sentiments: [f32; 3],
    needs_review: bool,
) -> Verdict {
    let judged = |probability: f32| Judgement { probability, holds: probability >= 0.5 };
    let most =
        (0..4).filter(|&i| intents[i] >= 0.5).max_by(|&a, &b| intents[a].total_cmp(&intents[b]));
    let felt = (0..3).max_by(|&a, &b| sentiments[a].total_cmp(&sentiments[b])).unwrap();
    Verdict {
        intents: intents.map(judged),
        primary: most.map(|at| Intent::ALL[at]),
        urgent: judged(urgent),
        sentiment: Sentiment::ALL[felt],
        sentiment_probabilities: sentiments,
        needs_review,
        language: Language::Dutch,
        tokens_read: 3,
        truncated: false,
        context_read: false,
        model: Arc::new(ModelId { version: String::new(), digest: String::new() }),
    }
}

fn problems(text: &str) -> Vec<String> {
    match Policy::parse(text) {
        Err(PolicyError::Problems(problems)) => {
            problems.iter().map(|p| format!("{}: {}", p.line, p.what)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_sends_each_kind_where_it_says() {
    let policy = Policy::parse(EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    let calm = [0.1, 0.8, 0.1];
    let angry = [0.9, 0.05, 0.05];
    let glad = [0.02, 0.08, 0.9];
    let twitter = Some(Channel::Twitter);
    let tags: &[String] = &[];
    for (verdict, channel, crisis, rule) in [
        (verdict([0.9, 0.9, 0.0, 0.0], 0.8, angry, true), None, true, "gevaar"),
        (
            verdict([0.0, 0.9, 0.0, 0.0], 0.0, angry, false),
            None,
            true,
            "crisis: klachten en geruchten",
        ),
        (verdict([0.9, 0.0, 0.0, 0.0], 0.0, calm, false), None, true, "vraag"),
        (verdict([0.0, 0.9, 0.0, 0.9], 0.0, angry, false), None, false, "feitelijke onjuistheid"),
        (
            verdict([0.9, 0.9, 0.0, 0.0], 0.0, angry, false),
            twitter,
            false,
            "boze klacht in het openbaar",
        ),
        (verdict([0.9, 0.9, 0.0, 0.0], 0.0, angry, false), Some(Channel::Email), false, "klacht"),
        (verdict([0.9, 0.0, 0.9, 0.0], 0.0, glad, false), None, false, "vraag"),
        (verdict([0.0, 0.0, 0.9, 0.0], 0.0, glad, false), None, false, "compliment, zeker"),
        (verdict([0.0, 0.0, 0.6, 0.0], 0.0, glad, true), None, false, "een mens kijkt"),
        (verdict([0.0, 0.0, 0.0, 0.0], 0.0, calm, false), None, false, "de rest"),
    ] {
        let facts = Facts { verdict: &verdict, channel, tags, crisis };
        let (at, found) = policy.route(&facts);
        assert_eq!(found.name, rule);
        assert_eq!(policy.rules[at], *found);
        assert!(!found.when.why(&facts).is_empty());
    }
    let urgent = verdict([0.0, 0.93, 0.0, 0.0], 0.97, angry, false);
    let facts = Facts { verdict: &urgent, channel: None, tags, crisis: false };
    assert_eq!(policy.route(&facts).1.when.why(&facts), "urgent 97%");
}

#[test]
fn all_that_is_wrong_is_said_with_its_line() {
    let text = "\
[queues.a]
[[rules]]
name = \"one\"
queue = \"nowhere\"
any = [\"complaint\", \"complain\"]
[[rules]]
name = \"one\"
queue = \"a\"
reply_within = \"soon\"
all = [\"question\"]
none = [\"question\"]
colour = 1
[[rules]]
queue = \"a\"
at_least = { urgent = 2, joy = 0.5 }
[[rules]]
name = \"last\"
queue = \"a\"
urgent = true
[other]
";
    let found = problems(text);
    for expected in [
        "2: there is no queue \"nowhere\"",
        "5: any cannot be complain",
        "6: there is another rule called \"one\"",
        "9: reply_within is not a time",
        "6: this rule never fits: `all` and `none` name the same intent",
        "12: a rule has no colour",
        "13: a rule needs a name",
        "15: urgent is not a number from 0 to 1",
        "15: at_least knows no joy",
        "16: the last rule must have no conditions",
        "20: there is nothing called other",
    ] {
        assert!(
            found.iter().any(|what| what.starts_with(expected)),
            "{expected} is not in {found:#?}"
        );
    }
    assert!(problems("")[0].contains("the last rule"));
}

#[test]
fn a_rule_that_is_never_reached_is_named_with_the_one_before_it() {
    let policy = |first: &str, second: &str| {
        let rule = |name: &str, when: &str| {
            format!("[[rules]]\nname = \"{name}\"\nqueue = \"q\"\n{when}\n")
        };
        format!("[queues.q]\n{}{}{}", rule("a", first), rule("b", second), rule("c", ""))
    };
    for (first, second) in [
        ("any = [\"complaint\", \"question\"]", "any = [\"complaint\"]"),
        ("any = [\"complaint\"]", "all = [\"complaint\", \"question\"]\nurgent = true"),
        ("at_least = { urgent = 0.5 }", "at_least = { urgent = 0.7 }"),
        ("channel = [\"email\", \"chat\"]", "channel = [\"chat\"]\ncrisis = false"),
        ("", "urgent = true"),
    ] {
        let found = problems(&policy(first, second));
        assert!(found[0].contains("\"b\" is never reached: \"a\" (line 2)"), "{found:?}");
    }
    for (first, second) in [
        ("any = [\"complaint\"]", "any = [\"complaint\", \"question\"]"),
        ("at_least = { urgent = 0.7 }", "at_least = { urgent = 0.5 }"),
        ("urgent = true", "urgent = false"),
        ("tags = [\"vip\"]", "any = [\"complaint\"]"),
    ] {
        assert!(Policy::parse(&policy(first, second)).is_ok(), "{first} {second}");
    }
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let intents = || prop::collection::vec(prop::sample::select(Intent::ALL.to_vec()), 0..3);
    let switch = || prop::option::weighted(0.3, any::<bool>());
    let limits = || {
        let one = (prop::sample::select(vec![Quantity::Urgent, Quantity::Intent(1)]), 0.1f32..0.9);
        prop::collection::btree_map(one.0, one.1, 0..2)
    };
    let feelings = prop::collection::vec(prop::sample::select(Sentiment::ALL.to_vec()), 0..3);
    (intents(), intents(), intents(), feelings, switch(), switch(), switch(), limits(), limits())
        .prop_map(|(any, all, none, sentiment, urgent, needs_review, crisis, at_least, below)| {
            Conditions {
                any,
                all,
                none,
                sentiment,
                urgent,
                needs_review,
                crisis,
                at_least,
                below,
                ..Conditions::default()
            }
        })
}

proptest! {
    /// Where one rule is said to cover another, no message shows otherwise.
    #[test]
    fn who_covers_fits_whatever_the_other_fits(
        first in conditions(), second in conditions(),
        messages in prop::collection::vec((any::<[bool; 4]>(), any::<bool>(), 0usize..3, any::<bool>(), any::<bool>(), 0f32..1.0), 30),
    ) {
        prop_assert!(covers(&first, &first));
        if covers(&first, &second) {
            for (intents, urgent, felt, review, crisis, p) in messages {
                let of = |holds: bool| if holds { 0.5 + p / 2.0 } else { p / 2.0 };
                let mut sentiments = [0.1; 3];
                sentiments[felt] = 0.8;
                let verdict = verdict(intents.map(of), of(urgent), sentiments, review);
                let facts = Facts { verdict: &verdict, channel: None, tags: &[], crisis };
                prop_assert!(first.fit(&facts) || !second.fit(&facts));
            }
        }
    }

    #[test]
    fn fuzz_a_policy(text in "\\PC{0,200}", near in "[\\[\\]a-z_=\"{}.0-9, \n]{0,300}") {
        let _ = (Policy::parse(&text), Policy::parse(&near));
        let _ = Policy::parse(&format!("{EXAMPLE}{near}"));
    }
}
