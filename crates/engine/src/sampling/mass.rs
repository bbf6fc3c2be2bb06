//! The fewest entries, best first, whose weights reach a sum; found without sorting.

use std::cmp::Ordering;

/// Something with a rank: smaller keys come first, then smaller tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// What decides; a number.
    pub key: f64,
    /// Decides among equals.
    pub token: u32,
    /// Adds to the sum; not negative.
    pub weight: f32,
}

impl Ranked {
    /// Smaller keys first, then smaller tokens.
    pub fn order(&self, other: &Self) -> Ordering {
        self.key.total_cmp(&other.key).then(self.token.cmp(&other.token))
    }
}

/// The last of the fewest first entries whose weights reach `target`; the very last if all together
/// do not, `None` of none. Halves the part where it must lie, as a selection does: expected time is
/// linear.
pub fn last_needed(mut entries: &mut [Ranked], mut target: f64) -> Option<Ranked> {
    while entries.len() > 1 {
        let middle = entries.len() / 2;
        entries.select_nth_unstable_by(middle, Ranked::order);
        let (before, after) = entries.split_at_mut(middle);
        let mass: f64 = before.iter().map(|entry| f64::from(entry.weight)).sum();
        if mass >= target {
            entries = before;
        } else {
            target -= mass;
            entries = after;
        }
    }
    entries.first().copied()
}
