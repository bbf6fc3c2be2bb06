//! The pool of blocks.

use crate::blocks::{Blocks, Chain};
use crate::slots::Slots;

/// Blocks of two tokens each for a sequence, named as far as they are full.
fn hold(blocks: &mut Blocks, tokens: &[u32]) -> Vec<u32> {
    let prefix = blocks.lookup(tokens, tokens.len() / 2);
    blocks.share(&prefix.blocks);
    let (mut table, mut chain) = (prefix.blocks, Some(prefix.chain));
    for tokens in tokens.chunks(2).skip(table.len()) {
        let mut block = blocks.allocate().expect("a free block");
        if let Some(prefix) = chain.filter(|_| tokens.len() == 2) {
            chain = blocks.name(prefix, &mut block, tokens);
        }
        table.push(block);
    }
    table
}

fn found(blocks: &Blocks, tokens: &[u32]) -> Vec<u32> {
    blocks.lookup(tokens, usize::MAX).blocks
}

#[test]
fn blank_blocks_go_first_then_untouched_then_the_least_recently_used() {
    let mut blocks = Blocks::new(5, 2, Slots::default());
    let a = hold(&mut blocks, &[1, 2, 3]);
    assert_eq!(a, [1, 2]);
    blocks.release(&a);
    assert_eq!((blocks.available(), blocks.idle()), (5, 1));
    let b = hold(&mut blocks, &[4, 5, 6, 7]);
    assert_eq!(b, [2, 3], "2 was blank; 1 is remembered");
    blocks.release(&b);
    assert_eq!(found(&blocks, &[1, 2]), [1]);
    let rest: Vec<u32> = std::iter::from_fn(|| blocks.allocate()).collect();
    assert_eq!(rest, [4, 5, 1, 3, 2], "the end of a chain goes before its beginning");
    assert_eq!(blocks.available(), 0);
    assert!(blocks.check([&rest[..]].into_iter()).is_ok());
    blocks.release(&rest);
    assert!(blocks.check([].into_iter()).is_ok());
}

#[test]
fn a_beginning_is_found_whole_blocks_at_a_time() {
    let mut blocks = Blocks::new(8, 2, Slots::default());
    let a = hold(&mut blocks, &[1, 2, 3, 4, 5]);
    assert_eq!(found(&blocks, &[1, 2, 3, 9]), a[..1]);
    assert_eq!(found(&blocks, &[1, 2, 3, 4, 5, 6]), a[..2]);
    assert_eq!(blocks.lookup(&[1, 2, 3, 4], 1).blocks, a[..1]);
    assert!(found(&blocks, &[3, 4]).is_empty(), "the same tokens behind others are not the same");
    let prefix = blocks.lookup(&[1, 2, 3, 4], 2);
    assert_eq!((prefix.idle, prefix.chain.depth), (0, 2));
    blocks.release(&a);
    assert_eq!(blocks.lookup(&[1, 2, 3, 4], 2).idle, 2);
    blocks.share(&prefix.blocks);
    assert!(blocks.check([&prefix.blocks[..]].into_iter()).is_ok());
}

#[test]
fn the_same_content_is_held_once() {
    let mut blocks = Blocks::new(4, 2, Slots::default());
    let (mut a, mut b) = (blocks.allocate().unwrap(), blocks.allocate().unwrap());
    let first = blocks.name(Chain::default(), &mut a, &[1, 2]).unwrap();
    let second = blocks.name(Chain::default(), &mut b, &[1, 2]).unwrap();
    assert_eq!((a, b, first), (1, 1, second));
    assert_eq!(blocks.available(), 3);
    assert!(blocks.check([&[1][..], &[1][..]].into_iter()).is_ok());
}

#[test]
fn colliding_hashes_lose_hits_and_nothing_else() {
    let mut blocks = Blocks::new(6, 2, Slots::default()).with_hash(|_, _| 7);
    let twice = hold(&mut blocks, &[1, 2, 1, 2]);
    assert_eq!(found(&blocks, &[1, 2, 1, 2]), twice[..1], "the parent counts too");
    blocks.forget(&twice);
    let a = hold(&mut blocks, &[1, 2, 3, 4]);
    let b = hold(&mut blocks, &[5, 6, 7, 8]);
    assert_eq!(found(&blocks, &[1, 2, 3, 4]), a[..1]);
    assert!(found(&blocks, &[5, 6, 7, 8]).is_empty());
    assert!(blocks.check([&a[..], &b[..]].into_iter()).is_ok());
    blocks.release(&a);
    blocks.release(&b);
    assert!(blocks.check([].into_iter()).is_ok());
}

#[test]
fn what_failed_is_forgotten_with_what_follows_from_it() {
    let mut blocks = Blocks::new(8, 2, Slots::default());
    let longer = hold(&mut blocks, &[1, 2, 3, 4, 5, 6]);
    let shorter = hold(&mut blocks, &[1, 2, 3, 4]);
    let other = hold(&mut blocks, &[1, 2, 9, 9]);
    blocks.release(&longer);
    blocks.forget(&shorter);
    assert_eq!(found(&blocks, &[1, 2, 3, 4, 5, 6]), other[..1], "another sequence owns it");
    assert!(blocks.check([&other[..]].into_iter()).is_ok());
    assert_eq!((blocks.available(), blocks.idle()), (6, 0));
    blocks.forget(&other);
    assert!(found(&blocks, &[1, 2]).is_empty());
    assert!(blocks.check([].into_iter()).is_ok());
}

#[test]
fn contradictions_are_noticed() {
    let mut blocks = Blocks::new(4, 2, Slots::default());
    let a = hold(&mut blocks, &[1, 2, 3]);
    assert!(blocks.check([&a[..]].into_iter()).is_ok());
    assert!(blocks.check([].into_iter()).unwrap_err().contains("owned"));
    assert!(blocks.check([&a[..], &a[..1]].into_iter()).unwrap_err().contains("block 1"));
}
