//! Experts in MXFP4 as OpenAI and transformers write them: `X_blocks` of codes and `X_scales` become one
//! tensor `X_blocks` of the weight's own shape.
//!
//! Follows transformers' `integrations/mxfp4.py`: a block is 32 codes in 16 bytes, the lower half of a
//! byte first, and one exponent.

use serde_json::Value;

use super::Named;
use crate::config::RawConfig;
use crate::encoding::Encoding;
use crate::error::Error;
use crate::file::MappedFile;
use crate::tensor::{Entry, Groups, Place};

const KEY: &str = "quantization_config";
const CODES: &str = "_blocks";
const SCALES: &str = "_scales";

/// Bytes of a block's codes.
const BLOCK_BYTES: usize = 16;
/// Codes of a block.
const BLOCK_CODES: usize = 32;

/// Whether config.json says that experts are in MXFP4.
///
/// # Errors
/// Keys beside the method that are not known.
pub(super) fn is_announced(config: &RawConfig) -> Result<bool, Error> {
    const KNOWN: &[&str] = &["quant_method", "modules_to_not_convert", "dequantize"];
    let Some(Value::Object(object)) = config.peek(KEY) else { return Ok(false) };
    if object.get("quant_method").and_then(Value::as_str) != Some("mxfp4") {
        return Ok(false);
    }
    if let Some(unknown) = object.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        let key = format!("{KEY}.{unknown}");
        let message = format!("is not known for mxfp4; {} are", KNOWN.join(", "));
        return Err(Error::key(config.source(), key, message));
    }
    // Which modules are left alone shows in the tensors.
    config.ignore(&[KEY]);
    Ok(true)
}

/// Joins codes and scales.
///
/// # Errors
/// Codes without scales, scales without codes, types and shapes that do not fit.
pub(super) fn join(mut entries: Named, files: &[MappedFile]) -> Result<Named, Error> {
    let names: Vec<String> =
        entries.keys().filter_map(|name| name.strip_suffix(CODES)).map(str::to_owned).collect();
    for name in names {
        let codes_name = format!("{name}{CODES}");
        let scales = entries.remove(&format!("{name}{SCALES}"));
        let Some(codes) = entries.get_mut(&codes_name) else { continue };
        let path = files.get(codes.file).map(MappedFile::path).unwrap_or_else(|| "".as_ref());
        let joined = join_one(codes, scales, &format!("{name}{SCALES}"));
        joined.map_err(|message| Error::tensor(path, &codes_name, message))?;
    }
    Ok(entries)
}

fn join_one(codes: &mut Entry, scales: Option<Entry>, scales_name: &str) -> Result<(), String> {
    let Some(scales) = scales else {
        return Err(format!("there is no tensor `{scales_name}` with its exponents"));
    };
    for (entry, name) in [(&*codes, "the codes"), (&scales, scales_name)] {
        if entry.encoding != Err("U8".to_owned()) {
            let kind = entry.encoding.as_ref().map_or_else(Clone::clone, ToString::to_string);
            return Err(format!("{name} are {kind}; U8 is needed"));
        }
    }
    let wrong = || {
        format!(
            "codes of shape {:?} and scales of shape {:?} do not fit: […, blocks, 16] and […, blocks] are \
             needed",
            codes.shape, scales.shape
        )
    };
    let (&bytes, blocks) = codes.shape.split_last().ok_or_else(wrong)?;
    if bytes != BLOCK_BYTES || blocks != scales.shape || blocks.len() < 2 {
        return Err(wrong());
    }
    let mut shape = blocks.to_vec();
    if let Some(columns) = shape.last_mut() {
        *columns = columns.checked_mul(BLOCK_CODES).ok_or_else(wrong)?;
    }
    let count = shape.iter().try_fold(1usize, |all, size| all.checked_mul((*size).max(1)));
    count.ok_or_else(wrong)?;
    codes.shape = shape;
    codes.encoding = Ok(Encoding::Mxfp4);
    let scales = Place { file: scales.file, bytes: scales.bytes };
    codes.groups = Some(Groups { scales, biases: None });
    Ok(())
}
