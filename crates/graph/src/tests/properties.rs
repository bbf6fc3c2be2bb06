//! Random programs.

use super::f32s;
use crate::{Builder, Dimension, Direction, ElementType, Label, Module, ModuleBuilder, Value};
use proptest::prelude::*;
use std::collections::HashSet;

const LABELS: [Label; 8] = [
    Label("Token"),
    Label("Model"),
    Label("Head"),
    Label("Group"),
    Label("Slot"),
    Label("Page"),
    Label("Row"),
    Label("Wide"),
];

/// One step of a program: what to do, and three numbers that say with what.
type Action = (u8, usize, usize, usize);

fn actions() -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec((0..20u8, 0..8usize, 0..8usize, 0..8usize), 1..40)
}

/// Up to three distinct labels with small sizes.
fn dimensions() -> impl Strategy<Value = Vec<Dimension>> {
    prop::collection::vec(1..6usize, 0..4)
        .prop_map(|sizes| sizes.iter().zip(LABELS).map(|(size, label)| label.of(*size)).collect())
}

/// A step that is well-formed whatever the numbers are, and whether it only rearranges elements.
fn valid<'b>(builder: &'b Builder<'b>, x: Value<'b>, (op, a, b, _): Action) -> (Value<'b>, bool) {
    let dimensions = x.ty().dimensions;
    let picked = dimensions.get(a % dimensions.len().max(1)).copied();
    let unused = LABELS.into_iter().find(|label| x.ty().position(*label).is_none());
    let (Some(picked), Some(unused)) = (picked, unused) else { return (x.cosine(), false) };
    let Dimension { label, size } = picked;
    match op {
        0 => (x.tanh(), false),
        1 => (x * 2.0 + x, false),
        2 => (x - x.mean(label), false),
        3 => (x.sum(label) * x, false),
        4 => (x.compare(Direction::Gt, x.max(label)).select(x, -x), false),
        5 => (x.slice(label, b.min(size - 1)..size), false),
        6 => (x.concatenate(&[x], label), false),
        7 => (x.take(label, builder.iota(label.of(b + 1)).minimum(builder.integer(0))), false),
        8 => (x.min(label), false),
        9 => (x.contract(x, &[label]), false),
        10 => (x.append(unused), true),
        11 => {
            let divisor = (1..=size).rev().find(|n| size % n == 0 && *n <= b + 1).unwrap_or(1);
            (x.split(label, &[label.of(divisor), unused.of(size / divisor)]), true)
        }
        12 => {
            let labels: Vec<Label> = dimensions.iter().map(|d| d.label).collect();
            (x.merge(&labels[a % labels.len()..], unused), true)
        }
        13 => {
            let mut labels: Vec<Label> = dimensions.iter().map(|d| d.label).collect();
            labels.rotate_left(b % dimensions.len());
            (x.transpose(&labels), true)
        }
        14 => (x.relabel(label, unused), true),
        15 => (x.convert(ElementType::F16).convert(ElementType::F32), true),
        16 => (x.bitcast(ElementType::I32).barrier().bitcast(ElementType::F32), true),
        17 => (builder.repeat(b, &[x], |_, y| vec![y[0].tanh() + x.cosine()])[0], true),
        _ => (x.named("renamed").exponential(), false),
    }
}

/// A step that may well be wrong.
fn any<'b>(builder: &'b Builder<'b>, x: Value<'b>, (op, a, b, c): Action) -> Value<'b> {
    let (la, lb, lc) = (LABELS[a], LABELS[b], LABELS[c]);
    match op {
        0 => x.split(la, &[lb.of(c), lc.of(b)]),
        1 => x.merge(&[la, lb], lc),
        2 => x.merge(&LABELS[a.min(b)..a.max(b)], lc),
        3 => x.transpose(&[la, lb]),
        4 => x.slice(la, b..c),
        5 => x.take(la, builder.iota(lb.of(c))),
        6 => x.put(builder.iota(la.of(b)), x),
        7 => x.contract(builder.iota(la.of(b)).convert(ElementType::F32), &[la, lc]),
        8 => x.relabel(la, lb),
        9 => x + builder.iota(la.of(b)).convert(ElementType::F32),
        10 => x.concatenate(&[x, builder.scalar(1.0)], la),
        11 => x.select(x, x),
        12 => x.bitcast(ElementType::I16).shift_left(70_000),
        13 => x.broadcast(&[la.of(b), lb.of(c)]),
        14 => x.convert(ElementType::I1).sum(la),
        15 => x.append(la).mean(lb),
        16 => {
            let _scope = builder.scope("\u{e9}%} =\n");
            x.named("%weird name\0")
        }
        _ => valid(builder, x, (op - 10, a, b, c)).0,
    }
}

/// The `%names` in a piece of text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('%').skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_')));
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// Every value is defined once, before its uses, and there is a line for every operation.
fn check(module: &Module) {
    let text = module.to_string();
    let mut defined = HashSet::new();
    let mut operations = 0;
    for line in text.lines() {
        if line.contains("func.func") {
            defined.clear();
        } else if let Some(rest) = line.strip_prefix("      %").filter(|_| !line.contains(" = ")) {
            let name = rest.split(':').next().unwrap();
            assert!(defined.insert(name), "{name} is defined twice in\n{text}");
        } else if let Some((results, rest)) =
            line.trim_start().strip_prefix('%').and_then(|_| line.split_once(" = "))
        {
            operations += 1;
            let carried = |name: &&str| rest.contains(&format!("%{name} = "));
            for name in names(rest).filter(carried) {
                assert!(defined.insert(name), "{name} is defined twice in\n{text}");
            }
            for name in names(rest) {
                assert!(defined.contains(name), "{name} is not defined yet in\n{text}");
            }
            for name in names(results) {
                assert!(defined.insert(name), "{name} is defined twice in\n{text}");
            }
        } else if let Some((_, rest)) = line.split_once("return ") {
            assert!(names(rest).all(|name| defined.contains(name)), "{text}");
        }
    }
    let all = module.functions.iter().map(|f| f.all_operations().len());
    assert_eq!(operations, all.sum::<usize>());
}

proptest! {
    #[test]
    fn well_formed_programs_are_printed_in_order(start in dimensions(), actions in actions()) {
        let module = ModuleBuilder::new("random");
        let main = module.function("main");
        let mut x = main.argument("x", f32s(start));
        for action in actions {
            let _scope = main.scope(format!("scope{}", action.3 % 3));
            let (next, rearranged) = valid(&main, x, action);
            if rearranged {
                prop_assert_eq!(next.ty().elements(), x.ty().elements());
            }
            // Sizes stay small enough to count.
            x = if next.ty().elements().is_some_and(|n| n < 1 << 40) { next } else { next.sum(next.ty().dimensions[0].label) };
        }
        prop_assert_eq!(main.finish(&[("x", x)]), Ok(()));
        check(&module.finish().unwrap());
    }

    #[test]
    fn no_program_panics(start in dimensions(), actions in actions()) {
        let module = ModuleBuilder::new("random");
        let main = module.function("main");
        let first = main.argument("x", f32s(start));
        let mut x = first;
        for action in actions {
            x = any(&main, x, action);
            prop_assert!(x.ty().rank() <= 40);
        }
        let finished = main.finish(&[("x", x)]);
        match module.finish() {
            Ok(module) => check(&module),
            Err(error) => prop_assert_eq!(finished, Err(error)),
        }
    }
}
