//! A policy at work: it can be read anew, and it knows whether there is a crisis, because somebody said so or because
//! of the complaints of late. May depend on `route`.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::{CrisisRule, Facts, Handling, Policy, PolicyError};
use crate::message::{Channel, Intent, Verdict};

/// Parts that the time that a crisis is told from is counted in.
const SLOTS: u32 = 60;

/// Who says whether there is a crisis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrisisMode {
    /// The complaints of late, by the policy.
    #[default]
    Automatic,
    /// Somebody: there is one.
    On,
    /// Somebody: there is none.
    Off,
}

impl CrisisMode {
    const ALL: [CrisisMode; 3] = [CrisisMode::Automatic, CrisisMode::On, CrisisMode::Off];
}

/// What the messages of late say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    pub messages: usize,
    pub complaints: usize,
}

/// How a crisis stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrisisState {
    pub active: bool,
    pub mode: CrisisMode,
    pub lately: Lately,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub rule: String,
    pub queue: String,
    pub priority: u8,
    pub reply_within: Option<Duration>,
    pub handling: Handling,
    pub tone: Option<String>,
    pub why: String,
    /// There was a crisis.
    pub crisis: bool,
}

/// Messages and complaints by slot, the oldest first.
#[derive(Debug, Default)]
struct Window(VecDeque<(u64, Lately)>);

impl Window {
    fn clear_before(&mut self, oldest: u64) {
        while self.0.front().is_some_and(|(slot, _)| *slot < oldest) {
            self.0.pop_front();
        }
    }

    fn note(&mut self, slot: u64, complaint: bool) {
        if self.0.back().is_none_or(|(last, _)| *last != slot) {
            self.0.push_back((slot, Lately::default()));
        }
        if let Some((_, lately)) = self.0.back_mut() {
            lately.messages += 1;
            lately.complaints += usize::from(complaint);
        }
    }

    fn sum(&self) -> Lately {
        self.0.iter().fold(Lately::default(), |sum, (_, lately)| Lately {
            messages: sum.messages + lately.messages,
            complaints: sum.complaints + lately.complaints,
        })
    }
}

/// Routes messages as they come.
#[derive(Debug)]
pub struct Router {
    policy: ArcSwap<Policy>,
    mode: AtomicU8,
    begun: Instant,
    window: Mutex<Window>,
}

impl Router {
    /// By the policy in a file.
    ///
    /// # Errors
    /// [`PolicyError`], with every fault and its line.
    pub fn read(path: &Path) -> Result<Arc<Self>, PolicyError> {
        Ok(Arc::new(Self::new(Policy::read(path)?)))
    }

    /// By a policy.
    pub fn new(policy: Policy) -> Self {
        let (policy, window) = (ArcSwap::from_pointee(policy), Mutex::default());
        Router { policy, mode: AtomicU8::new(0), begun: Instant::now(), window }
    }

    /// Reads the policy anew, for messages from now on; how many rules it has.
    ///
    /// # Errors
    /// As [`Router::read`]; all stays as it was then.
    pub fn reread(&self, path: &Path) -> Result<usize, PolicyError> {
        let policy = Policy::read(path)?;
        let rules = policy.rules.len();
        self.replace(policy);
        Ok(rules)
    }

    fn replace(&self, policy: Policy) {
        let other = policy.crisis != self.policy.load().crisis;
        self.policy.store(Arc::new(policy));
        if other {
            // What was counted is in parts of another time.
            self.window.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
        }
    }

    /// Says that there is a crisis, that there is none, or leaves it to the complaints of late.
    pub fn set(&self, mode: CrisisMode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// How a crisis stands.
    pub fn state(&self) -> CrisisState {
        self.state_at(self.policy.load().crisis, Instant::now())
    }

    fn state_at(&self, rule: Option<CrisisRule>, now: Instant) -> CrisisState {
        let mode = CrisisMode::ALL[usize::from(self.mode.load(Ordering::Relaxed)) % 3];
        let lately = rule.map_or_else(Lately::default, |rule| {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.clear_before(self.slot(rule, now).saturating_sub(u64::from(SLOTS)));
            window.sum()
        });
        let many = |rule: CrisisRule| {
            let share = lately.complaints as f32 / lately.messages.max(1) as f32;
            lately.complaints >= rule.complaints && share >= rule.share
        };
        let active = match mode {
            CrisisMode::On => true,
            CrisisMode::Off => false,
            CrisisMode::Automatic => rule.is_some_and(many),
        };
        CrisisState { active, mode, lately }
    }

    /// Which part of time it is, in parts of the rule's.
    fn slot(&self, rule: CrisisRule, now: Instant) -> u64 {
        let part = (rule.within / SLOTS).as_millis().max(1);
        let passed = now.saturating_duration_since(self.begun).as_millis();
        u64::try_from(passed / part).unwrap_or(u64::MAX)
    }

    /// Where a message goes, which counts towards a crisis.
    pub fn route(&self, verdict: &Verdict, channel: Option<Channel>, tags: &[String]) -> Route {
        self.route_at(verdict, channel, tags, Instant::now())
    }

    fn route_at(
        &self,
        verdict: &Verdict,
        channel: Option<Channel>,
        tags: &[String],
        now: Instant,
    ) -> Route {
        let policy = self.policy.load();
        if let Some(rule) = policy.crisis {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.note(self.slot(rule, now), verdict.intent(Intent::Complaint).holds);
        }
        let crisis = self.state_at(policy.crisis, now).active;
        let facts = Facts { verdict, channel, tags, crisis };
        let (_, rule) = policy.route(&facts);
        Route {
            rule: rule.name.clone(),
            queue: rule.queue.clone(),
            priority: rule.priority,
            reply_within: rule.reply_within,
            handling: rule.handling,
            tone: rule.tone.clone(),
            why: rule.when.why(&facts),
            crisis,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdict;
    use super::*;

    const POLICY: &str = "\
[queues.q]
[crisis]
complaints = 5
within = \"10m\"
share = 0.5
[[rules]]
name = \"storm\"
crisis = true
queue = \"q\"
[[rules]]
name = \"rest\"
queue = \"q\"
";

    fn complaint(yes: bool) -> Verdict {
        verdict([0.0, if yes { 0.9 } else { 0.1 }, 0.0, 0.0], 0.0, [0.1, 0.8, 0.1], false)
    }

    #[test]
    fn many_complaints_are_a_crisis_until_they_are_past() {
        let router = Router::new(Policy::parse(POLICY).unwrap());
        let start = router.begun;
        let rule = |yes, after: u64| {
            let now = start + Duration::from_secs(after);
            router.route_at(&complaint(yes), None, &[], now).rule
        };
        for second in 0..4 {
            assert_eq!(rule(true, second), "rest");
        }
        assert_eq!(rule(true, 5), "storm", "the fifth in ten minutes");
        assert_eq!(rule(false, 6), "storm");
        for second in 7..14 {
            rule(false, second);
        }
        assert_eq!(rule(false, 14), "rest", "five of fourteen are too small a share");
        for second in 15..22 {
            rule(true, second);
        }
        assert_eq!(rule(true, 30), "storm");
        assert_eq!(rule(true, 30 + 11 * 60), "rest", "eleven minutes later they are past");
    }

    #[test]
    fn somebody_has_the_last_word() {
        let router = Router::new(Policy::parse(POLICY).unwrap());
        let ask = || router.route(&complaint(true), None, &[]);
        assert!(!ask().crisis);
        router.set(CrisisMode::On);
        let route = ask();
        assert_eq!((route.rule.as_str(), route.crisis), ("storm", true));
        for _ in 0..9 {
            ask();
        }
        router.set(CrisisMode::Off);
        assert_eq!(ask().rule, "rest");
        router.set(CrisisMode::Automatic);
        let state = router.state();
        assert!(state.active && state.lately.complaints == 12, "{state:?}");
    }

    #[test]
    fn another_rule_begins_to_count_anew_and_the_same_goes_on() {
        let router = Router::new(Policy::parse(POLICY).unwrap());
        let counted = || router.state().lately.complaints;
        router.route(&complaint(true), None, &[]);
        router.replace(Policy::parse(&POLICY.replace("storm", "gale")).unwrap());
        assert_eq!(counted(), 1);
        router.replace(Policy::parse(&POLICY.replace("10m", "10h")).unwrap());
        assert_eq!(counted(), 0);
    }
}
