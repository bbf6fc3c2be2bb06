//! A step's tokens, grouped by the experts that compute them.

use std::ops::Range;

use super::Routing;

/// Tokens by expert. Each pair of a token and a choice has a *place*; places are sorted by expert,
/// then by token.
pub(super) struct Routes {
    /// The token at each place.
    rows: Vec<usize>,
    /// The place of each choice, `[T, N]`; without meaning for padding.
    places: Vec<usize>,
    /// `N`.
    choices: usize,
    groups: Vec<Group>,
}

/// An expert that has tokens.
pub(super) struct Group {
    pub(super) expert: usize,
    pub(super) places: Range<usize>,
}

impl Routes {
    /// Sizes have been checked: there are as many choices for each token, and `experts` for them,
    /// at least one.
    pub(super) fn new(routing: &Routing<'_>, experts: usize) -> Self {
        let tokens = routing.live.len();
        let choices = routing.chosen.len().checked_div(tokens).unwrap_or(0);
        let expert = |choice: usize| routes_to(routing.chosen[choice], experts);
        let live = routing.live.iter().enumerate().filter(|(_, live)| **live >= 0);
        let live: Vec<usize> = live.map(|(token, _)| token).collect();
        let all = || live.iter().flat_map(|token| token * choices..(token + 1) * choices);
        let mut ends = vec![0; experts];
        all().for_each(|choice| ends[expert(choice)] += 1);
        let mut groups = Vec::new();
        let mut first = 0;
        for (expert, count) in ends.iter_mut().enumerate() {
            let end = first + *count;
            if *count > 0 {
                groups.push(Group { expert, places: first..end });
            }
            // From here on where the expert's next token is put.
            *count = first;
            first = end;
        }
        let mut rows = vec![0; first];
        let mut places = vec![0; routing.chosen.len()];
        for choice in all() {
            let next = &mut ends[expert(choice)];
            rows[*next] = choice / choices;
            places[choice] = *next;
            *next += 1;
        }
        Self { rows, places, choices, groups }
    }

    /// The token at each place.
    pub(super) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Experts that have tokens, in order.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The places of a token that is not padding, in the order of its choices.
    pub(super) fn places(&self, token: usize) -> &[usize] {
        &self.places[token * self.choices..][..self.choices]
    }

    /// Groups of at most `most` places together, or one group.
    pub(super) fn passes(&self, most: usize) -> Vec<&[Group]> {
        let mut passes = Vec::new();
        let mut left = &self.groups[..];
        while let Some(group) = left.first() {
            let end = group.places.start + most;
            let count = left.iter().take_while(|group| group.places.end <= end).count().max(1);
            let (pass, rest) = left.split_at(count);
            passes.push(pass);
            left = rest;
        }
        passes
    }
}

/// An expert's number, moved to the ends if it is beyond.
pub(super) fn routes_to(chosen: i32, experts: usize) -> usize {
    usize::try_from(chosen).unwrap_or(0).min(experts - 1)
}
