//! Experts in MXFP4 as transformers saves them (gpt-oss): `quant_method` is `mxfp4`.
//!
//! A matrix of each expert stands in `NAME_blocks`, `[experts, out, groups, 16]` bytes of two codes, the
//! first in the lower half, and `NAME_scales`, `[experts, out, groups]`. That is MLX's layout. Gate and up
//! rows alternate in `gate_up_proj`. The tensors get MLX's names: `gate_proj.weight`, `up_proj.weight` and
//! `down_proj.weight`, each `[experts, out, in]`.

use serde_json::Value;

use super::Named;
use crate::config::RawConfig;
use crate::encoding::{BlockType, Encoding};
use crate::error::Error;
use crate::file::MappedFile;
use crate::row_order::RowOrder;
use crate::tensor::{Entry, Groups, Place, Transform};

const KEY: &str = "quantization_config";
const BLOCKS: &str = "_blocks";

/// Whether config.json says that experts are in MXFP4.
pub(super) fn is_mxfp4(config: &RawConfig) -> bool {
    let method = config.peek(KEY).and_then(|value| value.get("quant_method"));
    method.and_then(Value::as_str) == Some("mxfp4")
}

/// Joins blocks and scales.
pub(super) fn join(
    config: &RawConfig,
    mut entries: Named,
    files: &[MappedFile],
) -> Result<Named, Error> {
    config.ignore(&[KEY]);
    let names: Vec<String> =
        entries.keys().filter(|name| name.ends_with(BLOCKS)).cloned().collect();
    for name in names {
        let Some(blocks) = entries.remove(&name) else { continue };
        let stem = name.strip_suffix(BLOCKS).unwrap_or(&name);
        let file = files.get(blocks.file).map_or(config.source(), MappedFile::path);
        let refuse = |message: String| Error::tensor(file, &name, message);
        let scales = entries.remove(&format!("{stem}_scales"));
        let scales = scales.ok_or_else(|| refuse(format!("there is no tensor `{stem}_scales`")))?;
        let joined = joined(blocks, scales).map_err(refuse)?;
        for (name, order) in presented(stem) {
            let mut entry = joined.clone();
            if let Some(order) = order {
                halve(&mut entry, order).map_err(refuse)?;
            }
            if entries.insert(name.clone(), entry).is_some() {
                return Err(refuse(format!("there is a tensor `{name}`, too")));
            }
        }
    }
    Ok(entries)
}

/// The names of what stands in one pair of tensors, and the rows that belong to each.
fn presented(stem: &str) -> Vec<(String, Option<RowOrder>)> {
    match stem.strip_suffix("gate_up_proj") {
        Some(module) => [("gate_proj", 0), ("up_proj", 1)]
            .map(|(part, first)| {
                (format!("{module}{part}.weight"), Some(RowOrder::EverySecond { first }))
            })
            .to_vec(),
        None => vec![(format!("{stem}.weight"), None)],
    }
}

/// Both as one matrix for each expert.
fn joined(blocks: Entry, scales: Entry) -> Result<Entry, String> {
    let group = BlockType::Mxfp4.values();
    let bytes = Err("U8".to_owned());
    let wrong = || {
        format!(
            "blocks of shape {:?} and scales of shape {:?}: bytes of shapes [experts, out, groups, {}] and \
             [experts, out, groups] are needed",
            blocks.shape,
            scales.shape,
            group / 2
        )
    };
    let (&[experts, rows, groups, 16], &[other_experts, other_rows, other_groups]) =
        (&*blocks.shape, &*scales.shape)
    else {
        return Err(wrong());
    };
    let same = (experts, rows, groups) == (other_experts, other_rows, other_groups);
    if !same || blocks.encoding != bytes || scales.encoding != bytes {
        return Err(wrong());
    }
    // Not more values than twice the bytes that are there.
    let columns = groups.checked_mul(group).ok_or_else(wrong)?;
    let place = Place { file: scales.file, bytes: scales.bytes.clone() };
    Ok(Entry {
        shape: vec![experts, rows, columns],
        encoding: Ok(Encoding::Mxfp4),
        groups: Some(Groups { scales: place, biases: None }),
        ..blocks
    })
}

/// Every second row of the matrices.
fn halve(entry: &mut Entry, order: RowOrder) -> Result<(), String> {
    match entry.shape.get_mut(1) {
        Some(rows) if rows.is_multiple_of(2) => *rows /= 2,
        _ => return Err(format!("shape {:?}: gate and up rows come in pairs", entry.shape)),
    }
    entry.transform = Transform::Rows(order);
    Ok(())
}
