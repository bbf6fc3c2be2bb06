//! Buffers by themselves.
#![allow(missing_docs)]

mod support;

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use proptest::prelude::*;
use stablemate_graph::ElementType;
use stablemate_runtime::{ALIGNMENT, Buffer, Error};

#[test]
fn filled_in_place() {
    let device = support::device();
    // Both kinds of memory: small ones on the heap and large ones in pages of their own.
    for length in [1, 100, 3 << 20] {
        let mut address = 0;
        let buffer = device
            .buffer::<Error>(ElementType::I8, &[length], |bytes| {
                address = bytes.as_ptr() as usize;
                assert_eq!(bytes.len(), length);
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(7);
                Ok(())
            })
            .unwrap();
        assert!(address.is_multiple_of(ALIGNMENT));
        assert!(buffer.read::<u8>().unwrap().into_iter().eq(std::iter::repeat_n(7, length)));
        assert_eq!((buffer.bytes(), buffer.shape()), (length, &[length][..]));
    }
}

#[test]
fn errors_of_filling_are_passed_on() {
    #[derive(Debug, PartialEq)]
    enum Failure {
        Mine,
        Theirs(String),
    }
    impl From<Error> for Failure {
        fn from(error: Error) -> Self {
            Self::Theirs(error.to_string())
        }
    }
    let device = support::device();
    let fill = |shape: &[usize]| {
        device.buffer(ElementType::F32, shape, |_| Err(Failure::Mine)).unwrap_err()
    };
    assert_eq!(fill(&[2]), Failure::Mine);
    let theirs = "a buffer f32[4611686018427387904, 2] does not fit in memory".to_owned();
    assert_eq!(fill(&[1 << 62, 2]), Failure::Theirs(theirs));
    // Not more than an address can say, and yet more than there is.
    assert!(matches!(fill(&[1 << 60]), Failure::Theirs(_)));
}

#[test]
fn parts_are_read_and_written() {
    let device = support::device();
    let buffer = Buffer::from_slice(&device, &[2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap();
    let same = buffer.clone();
    let copy = buffer.copy().unwrap();
    buffer.write(2, &[30, 40]).unwrap();
    let mut part = [0; 3];
    same.read_into(1, &mut part).unwrap();
    assert_eq!(part, [2, 30, 40]);
    assert_eq!(copy.read::<i32>().unwrap(), [1, 2, 3, 4, 5, 6]);
    buffer.write::<i32>(6, &[]).unwrap();

    let error = buffer.write(5, &[1, 2]).unwrap_err().to_string();
    assert_eq!(error, "a buffer i32[2, 3] takes 24 bytes; 28 were given");
    assert!(same.read_into(usize::MAX, &mut part).is_err());
    assert!(same.read_into::<i32>(7, &mut []).is_err());
    let error = buffer.read::<f32>().unwrap_err().to_string();
    assert_eq!(error, "a buffer of i32 cannot be read or written as f32");
}

#[test]
fn elements_are_copied_within_a_buffer() {
    let device = support::device();
    let buffer = Buffer::from_slice(&device, &[3, 2], &[1i16, 2, 3, 4, 5, 6]).unwrap();
    buffer.copy_within(0, 4, 2).unwrap();
    assert_eq!(buffer.read::<i16>().unwrap(), [1, 2, 3, 4, 1, 2]);
    buffer.copy_within(3, 0, 2).unwrap();
    assert_eq!(buffer.read::<i16>().unwrap(), [4, 1, 3, 4, 1, 2]);
    buffer.copy_within(6, 0, 0).unwrap();
    let error = buffer.copy_within(0, 5, 2).unwrap_err().to_string();
    assert_eq!(error, "a buffer i16[3, 2] takes 12 bytes; 14 were given");
    assert!(buffer.copy_within(usize::MAX, 0, 2).is_err());
    let error = buffer.copy_within(0, 1, 2).unwrap_err().to_string();
    assert!(error.contains("overlap"), "{error}");
    assert_eq!(buffer.read::<i16>().unwrap(), [4, 1, 3, 4, 1, 2]);
}

#[test]
fn sizes_are_checked() {
    let device = support::device();
    let error = Buffer::from_slice(&device, &[2, 2], &[0f32; 3]).unwrap_err();
    assert_eq!(error.to_string(), "a buffer f32[2, 2] takes 16 bytes; 12 were given");
    let empty = Buffer::from_slice::<bf16>(&device, &[3, 0], &[]).unwrap();
    assert!(empty.read::<bf16>().unwrap().is_empty());
    assert!(empty.copy().unwrap().read::<bf16>().unwrap().is_empty());
}

#[test]
fn aligned_memory_is_used_where_it_lies() {
    let device = support::device();
    let contents: Vec<u8> = (0..=255).collect();
    let map = support::mapped(&contents);

    let aligned = Buffer::import(&device, ElementType::I8, &[128], &map, 64..192).unwrap();
    assert_eq!(Arc::strong_count(&map), 2);
    let moved = Buffer::import(&device, ElementType::I8, &[128], &map, 63..191).unwrap();
    assert_eq!(Arc::strong_count(&map), 2, "copied");
    assert_eq!(aligned.read::<u8>().unwrap(), contents[64..192]);
    assert_eq!(moved.read::<u8>().unwrap(), contents[63..191]);

    let error = aligned.write(0, &[1u8]).unwrap_err().to_string();
    assert!(error.contains("cannot write Buffer(i8[128])"), "{error}");
    moved.write(0, &[1u8]).unwrap();

    drop(aligned);
    assert_eq!(Arc::strong_count(&map), 1, "released");
    for (range, expected) in [
        (0..127, "a buffer i8[128] takes 128 bytes; 127 were given"),
        (200..328, "the bytes 200..328 are not in a map of 256 bytes"),
        (500..600, "the bytes 500..600 are not in a map of 256 bytes"),
        (Range { start: 192, end: 64 }, "the bytes 192..64 are not in a map of 256 bytes"),
    ] {
        let error = Buffer::import(&device, ElementType::I8, &[128], &map, range).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn memory_is_kept_after_its_device_is_dropped() {
    let map = support::mapped(&[5; 64]);
    let buffer = Buffer::import(&support::device(), ElementType::I8, &[64], &map, 0..64).unwrap();
    assert_eq!(Arc::strong_count(&map), 2);
    assert_eq!(buffer.read::<u8>().unwrap(), [5; 64]);
    drop(buffer);
    assert_eq!(Arc::strong_count(&map), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_import_reads_back(bytes in prop::collection::vec(any::<u8>(), 1..300), cut in 0usize..300) {
        let start = cut.min(bytes.len());
        let expected = &bytes[start..];
        let map = support::mapped(&bytes);
        let shape = [expected.len()];
        let device = support::device();
        let buffer = Buffer::import(&device, ElementType::I8, &shape, &map, start..bytes.len()).unwrap();
        prop_assert_eq!(buffer.read::<u8>().unwrap(), expected);
    }
}
