//! GGUF files that are wrong in one way each: an error that names the place, never a panic.

mod support;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use stablemate_checkpoint::Checkpoint;
use stablemate_fixtures::gguf::{Kind, Tensor, Value, Writer};
use support::{check, good, open_bytes, read_all, refusal};

#[test]
fn the_good_file_is_good() {
    let checkpoint = open_bytes(&good().to_bytes()).unwrap();
    read_all(&checkpoint);
    assert_eq!(checkpoint.config().get("rms_norm_eps").unwrap(), Some(1e-5));
    assert_eq!(checkpoint.config().get("rope_theta").unwrap(), Some(10_000.0));
    let mut version_2 = good();
    version_2.version = 2;
    open_bytes(&version_2.to_bytes()).unwrap();
    open_bytes(&good().align(8).to_bytes()).unwrap();
    open_bytes(&good().align(4096).to_bytes()).unwrap();
}

#[test]
fn headers() {
    let good = good().to_bytes();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    for (bytes, part) in [
        (Vec::new(), "the file is empty"),
        (b"GG".to_vec(), "ends at byte 0"),
        (with(0, b"GGML"), "not a GGUF file"),
        (with(4, &1u32.to_le_bytes()), "version 1; versions 2 and 3 are read"),
        (with(4, &4u32.to_le_bytes()), "version 4"),
        (with(4, &3u32.to_be_bytes()), "big-endian"),
        (with(8, &u64::MAX.to_le_bytes()), "18446744073709551615 tensors"),
        (
            with(8, &1_000_000u64.to_le_bytes()),
            "1000000 tensors, but the rest of the file has room for",
        ),
        (with(16, &u64::MAX.to_le_bytes()), "metadata entries, but"),
        (
            with(24, &u64::MAX.to_le_bytes()),
            "metadata entry 0: the key: 18446744073709551615 bytes of text",
        ),
        (with(32, &[0xff, 0xfe]), "metadata entry 0: the key: text is not UTF-8"),
        (with(52, &99u32.to_le_bytes()), "`general.architecture`: unknown value type 99"),
        (good[..60].to_vec(), "4 tensors, but the rest of the file has room for 1"),
        (good[..good.len() - 200].to_vec(), "tensor `"),
    ] {
        let message = refusal(&bytes);
        assert!(message.contains("bad.gguf: ") && message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_token_that_is_not_text() {
    let mut bytes = good().to_bytes();
    // The second token: its length, 1, then `b`.
    let pattern = [1, 0, 0, 0, 0, 0, 0, 0, b'b'];
    let place = bytes.windows(9).position(|window| window == pattern).unwrap();
    bytes[place + 8] = 0xff;
    let message = refusal(&bytes);
    let expected = "bad.gguf: key `tokenizer.ggml.tokens`: element 1: text is not UTF-8";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn tensors() {
    let with = |w: &mut Writer, shape: &[usize], kind| {
        _ = w.tensor("bad.weight", shape, kind, vec![0; 64])
    };
    let bad: &[&str] = &["tensor `bad.weight`"];
    let parts = |part: &'static str| [bad, &[part]].concat();
    check(|w| with(w, &[1, 1, 1, 1, 1], Kind::F32), &parts("5 dimensions"));
    check(|w| with(w, &[2, 0], Kind::F32), &parts("a dimension is 0"));
    check(|w| with(w, &[2, 33], Kind::Q4_0), &parts("rows of 33 values cannot be stored as Q4_0"));
    check(|w| with(w, &[usize::MAX, 32], Kind::F32), &parts("more values than can be counted"));
    check(
        |w| with(w, &[1 << 20, 1 << 20, 1 << 20, 1 << 10], Kind::Q4_K),
        &parts("more values than"),
    );
    check(|w| with(w, &[1 << 62], Kind::F32), &parts("more values than can be counted"));
    check(|w| with(w, &[1 << 60], Kind::F32), &parts("cut short or damaged"));
    check(|w| with(w, &[17], Kind::F32), &parts("68 bytes at offset"));
    let change = |w: &mut Writer, change: fn(&mut Tensor)| {
        with(w, &[16], Kind::F32);
        change(w.tensors.last_mut().unwrap());
    };
    check(|w| change(w, |t| t.kind = 77), &parts("type number 77"));
    check(|w| change(w, |t| t.kind = 4), &parts("type number 4"));
    check(
        |w| change(w, |t| t.false_offset = Some(7)),
        &parts("offset 7, which is not a multiple of 32"),
    );
    check(|w| change(w, |t| t.false_offset = Some(u64::MAX - 31)), &parts("cut short or damaged"));
    check(|w| change(w, |t| t.false_offset = Some(1 << 40)), &parts("cut short or damaged"));
    check(|w| change(w, |t| t.false_offset = Some(0)), &["shares bytes of the file with tensor"]);
    check(
        |w| change(w, |t| t.name = "output_norm.weight".into()),
        &["`output_norm.weight`", "twice"],
    );
    // A second name for a tensor would hide the first.
    check(
        |w| change(w, |t| t.name = "blk.00.attn_q.weight".into()),
        &["`blk.00.attn_q.weight`", "nothing"],
    );
}

#[test]
fn tensor_types_that_are_not_read_are_refused_when_asked_for() {
    let mut writer = good();
    writer.tensor("blk.0.ffn_up.weight", &[32], Kind::I32, vec![0; 128]);
    writer.tensor("blk.0.ffn_down.weight", &[32], Kind::IQ4_NL, vec![0; 18]);
    let checkpoint = open_bytes(&writer.to_bytes()).unwrap();
    for (name, stored, kind) in [
        ("model.layers.0.mlp.up_proj.weight", "blk.0.ffn_up.weight", "I32"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight", "IQ4_NL"),
    ] {
        assert!(checkpoint.tensor_names().any(|other| other == name));
        let message = checkpoint.tensor(name).unwrap_err().to_string();
        assert!([stored, kind, "Q4_0"].iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn scales_that_are_no_numbers_are_refused() {
    let mut writer = good();
    // The scale of the second row's second block.
    let mut bytes = vec![0; 4 * 17];
    bytes[3 * 17] = 255;
    writer.tensor("blk.0.ffn_up.weight", &[2, 64], Kind::MXFP4, bytes);
    let checkpoint = open_bytes(&writer.to_bytes()).unwrap();
    let tensor = checkpoint.tensor("model.layers.0.mlp.up_proj.weight").unwrap().unwrap();
    assert_eq!(tensor.encoding().to_string(), "MXFP4");
    let words = tensor.packing().unwrap().row_words(64);
    tensor.decode_rows(0..1, &mut [0.0; 64]).unwrap();
    tensor.pack_row(0, &mut vec![0; words]).unwrap();
    for error in [
        tensor.decode(&mut [0.0; 128]),
        tensor.pack_row(1, &mut vec![0; words]),
        tensor.pack_tile(0, &mut vec![0; 16 * words]),
    ] {
        let message = error.unwrap_err().to_string();
        let parts = ["`blk.0.ffn_up.weight`", "row 1: the scale of group 1 is 255, the NaN"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

fn parts(directory: &Path) -> Vec<PathBuf> {
    good().write_split(directory, "model", 3).unwrap()
}

#[test]
fn split_files() {
    let directory = tempfile::tempdir().unwrap();
    let paths = parts(directory.path());
    let whole = open_bytes(&good().to_bytes()).unwrap();
    // Through any part, and through the directory.
    for path in paths.iter().map(PathBuf::as_path).chain([directory.path()]) {
        let checkpoint = Checkpoint::open(path).unwrap();
        read_all(&checkpoint);
        assert_eq!(checkpoint.total_bytes(), whole.total_bytes());
        assert!(checkpoint.tensor_names().eq(whole.tensor_names()));
    }
    let refused = |path: &Path, part: &str| {
        let message = Checkpoint::open(path).err().expect("opened").to_string();
        assert!(message.contains(part), "{part}: {message}");
    };
    let renamed = directory.path().join("alone.gguf");
    std::fs::copy(&paths[0], &renamed).unwrap();
    refused(&renamed, "`split.count`: is 3, so the file must be named like");
    refused(
        directory.path(),
        "several GGUF files are here; open one of them: alone.gguf, model-00001-of",
    );
    std::fs::copy(&paths[2], &paths[1]).unwrap();
    refused(&paths[0], "`split.no`: is 2; 1 is needed");
    std::fs::remove_file(&paths[1]).unwrap();
    refused(&paths[0], "model-00002-of-00003.gguf");
    let mut again = good();
    again.tensors.truncate(1);
    again.set("split.no", Value::U16(1)).set("split.count", Value::U16(3));
    again.write(&paths[1]).unwrap();
    refused(&paths[0], "tensor `token_embd.weight`: also in another part");
    again.tensors.clear();
    again.write(&paths[1]).unwrap();
    refused(&paths[0], "`split.tensors.count`: is 4; the parts have 3");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damaged files never panic, and what opens can be read.
    #[test]
    fn damage_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        extra in prop::option::of(0usize..100),
    ) {
        let mut bytes = good().to_bytes();
        // The header is the interesting part.
        let header = bytes.len().min(1200);
        for (place, value) in flips {
            let place = place.index(header);
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(vec![0; extra.unwrap_or(0)]);
        if let Ok(checkpoint) = open_bytes(&bytes) {
            read_all(&checkpoint);
        }
    }
}

/// The metadata may be right and a tensor not fit it.
#[test]
fn heads_that_do_not_divide_the_rows() {
    let replace = |w: &mut Writer, shape: &[usize]| {
        w.tensors.retain(|tensor| tensor.name != "blk.0.attn_k.weight");
        let values = vec![0.0; shape.iter().product()];
        w.floats("blk.0.attn_k.weight", shape, &values);
    };
    let name = "tensor `blk.0.attn_k.weight`";
    check(|w| replace(w, &[15, 32]), &[name, "15 rows cannot be split into the halves of 1 heads"]);
    check(|w| replace(w, &[2, 2, 32]), &[name, "a matrix or a vector is needed"]);
}
