//! Whether a rule can ever be reached: not where an earlier one fits whatever it fits. Errs on the safe side: what
//! it says is unreachable is; what it does not find may be so all the same. May depend on `route`.

use super::{Conditions, Quantity};

/// Whether `first` fits whenever `second` does.
pub(super) fn covers(first: &Conditions, second: &Conditions) -> bool {
    // A list of alternatives is implied by a shorter one of the same.
    fn within<T: PartialEq>(first: &[T], second: &[T]) -> bool {
        first.is_empty() || !second.is_empty() && second.iter().all(|each| first.contains(each))
    }
    let same = |first: Option<bool>, second: Option<bool>| first.is_none() || first == second;
    let any = within(&first.any, &second.any) || first.any.iter().any(|i| second.all.contains(i));
    let least = first.at_least.iter().all(|(quantity, least)| {
        second.at_least.get(quantity).is_some_and(|own: &f32| own >= least)
    });
    let below = first.below.iter().all(|(quantity, most): (&Quantity, &f32)| {
        second.below.get(quantity).is_some_and(|own| own <= most)
    });
    any && first.all.iter().all(|i| second.all.contains(i))
        && first.none.iter().all(|i| second.none.contains(i))
        && within(&first.sentiment, &second.sentiment)
        && within(&first.channel, &second.channel)
        && within(&first.language, &second.language)
        && within(&first.tags, &second.tags)
        && same(first.urgent, second.urgent)
        && same(first.needs_review, second.needs_review)
        && same(first.crisis, second.crisis)
        && least
        && below
}

/// Why conditions can never fit, whatever the message; nothing where they can.
pub(super) fn contradiction(when: &Conditions) -> Option<&'static str> {
    if when.all.iter().any(|intent| when.none.contains(intent)) {
        return Some("`all` and `none` name the same intent");
    }
    if !when.any.is_empty() && when.any.iter().all(|intent| when.none.contains(intent)) {
        return Some("`none` names all that `any` does");
    }
    let crossed = |(quantity, least): (&Quantity, &f32)| {
        when.below.get(quantity).is_some_and(|most| most <= least)
    };
    if when.at_least.iter().any(crossed) {
        return Some("`at_least` is not below `below`");
    }
    None
}
