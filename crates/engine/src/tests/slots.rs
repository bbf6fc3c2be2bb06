//! The pool of slots.

use crate::blocks::{Blocks, Chain};
use crate::slots::Slots;

fn check(slots: &Slots, held: &[u32]) -> Result<(), String> {
    slots.check(held.iter().copied(), |_| true)
}

#[test]
fn blank_slots_go_first_then_the_snapshot_least_recently_used() {
    let mut slots = Slots::new(4);
    assert_eq!((slots.allocate(), slots.allocate()), (Some(1), Some(2)));
    assert_eq!((slots.keep(7, false), slots.keep(8, false)), (Some(3), Some(4)));
    assert_eq!((slots.owned(), slots.snapshots()), (2, 2));
    assert!(slots.touch(7, true) && !slots.touch(9, true));
    assert_eq!(slots.keep(9, false), Some(4), "8 was used before 7 was");
    assert_eq!((slots.snapshot(7), slots.snapshot(8), slots.snapshot(9)), (Some(3), None, Some(4)));
    assert!(check(&slots, &[1, 2]).is_ok());
    slots.release(1);
    assert_eq!(slots.allocate(), Some(1), "a blank slot before any snapshot");
    assert_eq!((slots.allocate(), slots.allocate(), slots.allocate()), (Some(3), Some(4), None));
    assert_eq!(slots.keep(7, false), None, "sequences own all slots");
    assert!(check(&slots, &[1, 2, 3, 4]).is_ok());
}

#[test]
fn a_passing_snapshot_stays_once_another_sequence_used_it() {
    let mut slots = Slots::new(3);
    slots.keep(1, true);
    slots.keep(2, true);
    slots.keep(3, false);
    assert!(slots.touch(1, false) && slots.touch(2, true));
    (1..=4).for_each(|block| slots.pass(block));
    assert_eq!([1, 2, 3].map(|block| slots.snapshot(block).is_some()), [false, true, true]);
    slots.lose(2);
    slots.lose_slot(3);
    assert_eq!(slots.snapshots(), 0);
    assert!(check(&slots, &[]).is_ok());
}

#[test]
fn a_prefix_reaches_to_its_last_snapshot() {
    let mut blocks = Blocks::new(4, 2, Slots::new(2));
    let mut table: Vec<u32> = (0..3).map(|_| blocks.allocate().unwrap()).collect();
    let mut chain = Chain::default();
    for (block, tokens) in table.iter_mut().zip([[1, 2], [3, 4], [5, 6]]) {
        chain = blocks.name(chain, block, &tokens).unwrap();
    }
    let found = |blocks: &Blocks, tokens: &[u32]| {
        let prefix = blocks.lookup(tokens, usize::MAX);
        (prefix.blocks, prefix.known, prefix.snapshot)
    };
    let tokens = [1, 2, 3, 4, 5, 6, 7];
    assert_eq!(found(&blocks, &tokens), (vec![], 3, None));
    assert_eq!(blocks.slots.keep(table[1], false), Some(1));
    assert_eq!(found(&blocks, &tokens), (table[..2].to_vec(), 3, Some(1)));
    assert_eq!(found(&blocks, &tokens[..3]), (vec![], 1, None));
    let prefix = blocks.lookup(&tokens, 2);
    assert_eq!((prefix.chain.depth, prefix.idle, prefix.tokens(2)), (2, 0, 4));
    assert!(blocks.check_slots([].into_iter()).is_ok());
    // The content of a block and its snapshot go together, the end of the chain first.
    blocks.release(&table);
    assert_eq!(blocks.lookup(&tokens, 3).idle, 2);
    let taken: Vec<u32> = (0..3).map(|_| blocks.allocate().unwrap()).collect();
    assert_eq!(taken, [4, table[2], table[1]]);
    assert_eq!(found(&blocks, &tokens), (vec![], 1, None));
    assert_eq!(blocks.slots.snapshots(), 0);
    assert!(blocks.check_slots([].into_iter()).is_ok());
}

#[test]
fn contradictions_are_noticed() {
    let mut slots = Slots::new(3);
    let slot = slots.allocate().unwrap();
    slots.keep(5, false);
    assert!(check(&slots, &[slot]).is_ok());
    assert!(check(&slots, &[]).unwrap_err().contains("2 of 3"));
    assert!(check(&slots, &[slot, slot]).unwrap_err().contains("slot 1 of 3"));
    assert!(check(&slots, &[0]).unwrap_err().contains("slot 0 of 3"));
    let unknown = slots.check([slot].into_iter(), |block| block != 5);
    assert!(unknown.unwrap_err().contains("block 5 has a snapshot"));
}
