//! A random model as a GGUF file that llama.cpp and Stablemate both read.

use anyhow::{Result, bail};
use stablemate_fixtures::gguf::{Kind, Outline, Value, Writer};

use crate::synth::file::{Layout, Region};
use crate::synth::fill::{Fill, mix};
use crate::synth::shape::{Contents, DeltaNet, Experts, INTERVAL, Shape};

/// Where the tensors' data may begin.
const ALIGNMENT: usize = 32;

/// The whole file: every matrix in one type, norms in float32.
pub fn layout(shape: &Shape, kind: Kind) -> Result<Layout> {
    let mut files = Files { outlines: Vec::new(), regions: Vec::new(), length: 0 };
    for tensor in shape.tensors() {
        let count: usize = tensor.shape.iter().product();
        let kind = match tensor.contents {
            Contents::Weights => kind,
            Contents::Floats => Kind::F32,
            Contents::Number(number) => {
                files.add_floats(&tensor.gguf, &vec![number; count]);
                continue;
            }
        };
        let (values, bytes) = kind.block();
        let columns = tensor.shape.last().copied().unwrap_or(0);
        if columns % values != 0 {
            bail!(
                "{kind:?} has blocks of {values} values, and {} of {} has rows of {columns}: choose another encoding",
                tensor.gguf,
                shape.name,
            );
        }
        let bytes = count / values * bytes;
        files.add(&tensor.gguf, &tensor.shape, kind, bytes, Fill::Weights(kind));
    }
    if let Some(factors) = shape.rope_factors() {
        files.add_floats("rope_freqs.weight", &factors);
    }
    let head = metadata(shape, kind).head(&files.outlines);
    for region in &mut files.regions {
        region.offset += head.len() as u64;
    }
    Ok(Layout { head, regions: files.regions })
}

/// The tensors so far.
struct Files {
    outlines: Vec<Outline>,
    /// Offsets count from the end of the head.
    regions: Vec<Region>,
    length: usize,
}

impl Files {
    fn add(&mut self, name: &str, shape: &[usize], kind: Kind, bytes: usize, fill: Fill) {
        let offset = self.length as u64;
        self.outlines.push(Outline {
            name: name.to_owned(),
            shape: shape.iter().map(|extent| *extent as u64).collect(),
            kind: kind as u32,
            offset,
        });
        // Far apart: the pieces of a region take the numbers that follow its seed.
        let seed = mix(self.outlines.len() as u64);
        self.regions.push(Region { offset, bytes, seed, fill });
        self.length = (self.length + bytes).next_multiple_of(ALIGNMENT);
    }

    fn add_floats(&mut self, name: &str, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.add(name, &[values.len()], Kind::F32, bytes.len(), Fill::Bytes(bytes));
    }
}

fn metadata(shape: &Shape, kind: Kind) -> Writer {
    let mut writer = Writer::new(shape.architecture());
    writer.set("general.type", "model".into());
    writer.set("general.name", format!("random weights, {}, {kind:?}", shape.name).as_str().into());
    writer.set("general.quantization_version", Value::U32(2));
    let mut counts = vec![
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.hidden),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.key_value_heads),
        ("attention.key_length", shape.head_dim),
        ("attention.value_length", shape.head_dim),
        ("rope.dimension_count", shape.rotary),
        ("vocab_size", shape.vocabulary),
    ];
    if let Some(DeltaNet { key_heads, value_heads, width, kernel }) = shape.delta_net {
        counts.extend([
            ("full_attention_interval", INTERVAL),
            ("ssm.conv_kernel", kernel),
            ("ssm.state_size", width),
            ("ssm.group_count", key_heads),
            ("ssm.time_step_rank", value_heads),
            ("ssm.inner_size", value_heads * width),
        ]);
    }
    if let Some(Experts { count, choices, features, shared }) = shape.experts {
        counts.extend([
            ("expert_count", count),
            ("expert_used_count", choices),
            ("expert_feed_forward_length", features),
            ("expert_shared_feed_forward_length", shared),
        ]);
    } else {
        counts.push(("feed_forward_length", shape.feed_forward));
    }
    let name = |key: &str| format!("{}.{key}", shape.architecture());
    for (key, count) in counts {
        writer.set(&name(key), Value::U32(count as u32));
    }
    let epsilon = if shape.delta_net.is_some() { 1e-6 } else { 1e-5 };
    writer.set(&name("attention.layer_norm_rms_epsilon"), Value::F32(epsilon));
    writer.set(&name("rope.freq_base"), Value::F32(shape.rope_base));
    if shape.delta_net.is_some() {
        // Of pairs of values: those for time, height and width.
        let sections = [11, 11, 10, 0].map(Value::I32).to_vec();
        writer.set(&name("rope.dimension_sections"), Value::Array(sections));
    }
    tokenizer(shape.vocabulary, &mut writer);
    writer
}

/// A byte-level vocabulary: the 256 bytes, a space with each small letter (the only merges), names that no text holds,
/// and two special tokens at the end.
fn tokenizer(count: usize, writer: &mut Writer) {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    let space = byte_character(b' ');
    let mut tokens: Vec<String> = (0..=u8::MAX).map(|byte| byte_character(byte).into()).collect();
    tokens.extend(('a'..='z').map(|letter| format!("{space}{letter}")));
    let names = count - 2 - tokens.len();
    tokens.extend((0..names).map(|number| format!("<{number}>")));
    tokens.extend(["<|begin_of_text|>", "<|end_of_text|>"].map(str::to_owned));
    let types = (0..count).map(|id| if id < count - 2 { NORMAL } else { CONTROL });
    let merges = ('a'..='z').map(|letter| Value::String(format!("{space} {letter}")));

    writer.set("tokenizer.ggml.model", "gpt2".into());
    writer.set("tokenizer.ggml.pre", "llama-bpe".into());
    writer.set("tokenizer.ggml.token_type", Value::Array(types.map(Value::I32).collect()));
    writer.set("tokenizer.ggml.merges", Value::Array(merges.collect()));
    writer.set(
        "tokenizer.ggml.tokens",
        Value::Array(tokens.into_iter().map(Value::String).collect()),
    );
    writer.set("tokenizer.ggml.bos_token_id", Value::U32(count as u32 - 2));
    writer.set("tokenizer.ggml.eos_token_id", Value::U32(count as u32 - 1));
}

/// GPT-2's way to write a byte as a character: itself if it is a visible one, else one from 256 on.
fn byte_character(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if visible(byte) {
        return byte.into();
    }
    let before = (0..byte).filter(|other| !visible(*other)).count();
    char::from_u32(256 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_blocks() {
        let tiny = Shape::find("tiny").unwrap();
        let tensors = tiny.tensors();
        let matrices = tensors.iter().filter(|tensor| tensor.contents == Contents::Weights);
        let matrices: usize = matrices.map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        for kind in Kind::BLOCKS.into_iter().chain([Kind::F32, Kind::F16, Kind::BF16]) {
            let layout = layout(tiny, kind).unwrap();
            let (values, bytes) = kind.block();
            let norms = (2 * tiny.layers + 1) * tiny.hidden * 4;
            let expected = matrices / values * bytes + norms + tiny.head_dim / 2 * 4;
            assert_eq!(layout.length(), (layout.head.len() + expected) as u64, "{kind:?}");
            assert!(layout.regions.iter().all(|region| region.bytes % region.fill.unit() == 0));
            assert!(layout.regions.iter().all(|region| region.offset % ALIGNMENT as u64 == 0));
        }
    }

    #[test]
    fn experts_are_stacked_and_their_router_is_in_floats() {
        let shape = Shape::find("tiny-experts").unwrap();
        let layout = layout(shape, Kind::Q4_K).unwrap();
        assert!(layout.regions.iter().all(|region| region.bytes % region.fill.unit() == 0));
        let tensors = shape.tensors();
        let of = |name: &str| tensors.iter().find(|tensor| tensor.gguf == name).unwrap();
        assert_eq!(of("blk.0.ffn_down_exps.weight").shape, [8, 256, 256]);
        assert_eq!(of("blk.3.ffn_gate_inp.weight").contents, Contents::Floats);
        assert_eq!(of("blk.2.attn_qkv.weight").shape, [512, 256]);
        assert_eq!(of("blk.3.attn_q.weight").shape, [1024, 256]);
        assert!(tensors.iter().all(|tensor| tensor.gguf != "blk.3.attn_qkv.weight"));
    }

    #[test]
    fn rows_that_are_no_multiple_of_a_block_are_refused() {
        let shape = Shape::find("smollm2-135m").unwrap();
        let error = layout(shape, Kind::Q4_K).err().unwrap().to_string();
        assert!(error.contains("token_embd.weight") && error.contains("rows of 576"), "{error}");
        assert!(layout(shape, Kind::Q4_1).is_ok());
    }

    #[test]
    fn bytes_are_256_characters() {
        let characters: std::collections::BTreeSet<char> =
            (0..=u8::MAX).map(byte_character).collect();
        assert_eq!(characters.len(), 256);
        assert_eq!(
            (byte_character(b' '), byte_character(b'a'), byte_character(b'\n')),
            ('Ġ', 'a', 'Ċ')
        );
    }
}
