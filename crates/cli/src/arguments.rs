//! The command line.

mod load;
mod serve;

pub use load::{Pattern, ServerLoadArguments, SoakArguments, TargetArguments};
pub use serve::{LogFormat, NetworkArguments, ServeArguments};

use crate::names::{activations, backend, cache_element, isa};
use clap::{Args, Parser, Subcommand, ValueEnum};
use stablemate::{Activations, Backend, CacheElement, EmitOptions, Isa};
use std::path::PathBuf;

/// Run language models on OpenXLA: checkpoints become StableHLO, compiled by IREE.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// Where `setup` installs the compiler [default: ~/.local/share/stablemate]
    #[arg(long, global = true, env = "STABLEMATE_DATA", value_name = "DIR")]
    pub data_folder: Option<PathBuf>,
    /// Where compiled models are kept [default: ~/.cache/stablemate]
    #[arg(long, global = true, env = "STABLEMATE_CACHE", value_name = "DIR")]
    pub cache_folder: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Continue a prompt
    Run(RunArguments),
    /// Talk with a model
    Chat(ChatArguments),
    /// Serve a model: the OpenAI API, and a page to chat with
    Serve(ServeArguments),
    /// Print the model as StableHLO
    Emit(EmitArguments),
    /// Compile the model for a target of IREE
    Compile(CompileArguments),
    /// Describe a model: layers, parameters, encodings, memory
    Inspect(InspectArguments),
    /// Print the logits after a prompt, as JSON
    Logits(LogitsArguments),
    /// Print the token ids of a text
    Tokenize(TokenizeArguments),
    /// Measure a model (tokens per second, memory, share of the memory's bandwidth), or with --server a server
    Bench(BenchArguments),
    /// Try to make a server leak, grow or err: many requests, many of whose clients leave
    Soak(SoakArguments),
    /// Compare native kernels with the portable text: logits, greedy tokens
    Verify(VerifyArguments),
    /// Write a quantised copy of a model
    Quantize(QuantizeArguments),
    /// Install the compiler
    Setup(SetupArguments),
    /// Say what is installed, what is missing, and how to mend it
    Doctor,
}

/// Which model.
#[derive(Args, Debug)]
pub struct ModelArgument {
    /// A Hugging Face directory, a .gguf file, or a hub id: organisation/name[@revision][:file.gguf]
    #[arg(value_name = "MODEL")]
    pub model: String,
}

/// How a model is loaded.
#[derive(Args, Clone, Debug)]
pub struct LoadArguments {
    /// Threads that compute [default: all physical cores]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub arithmetic: ArithmeticArguments,
    /// The longest sequence, in tokens [default: what the model is made for, as far as half of the memory holds it]
    #[arg(long, visible_alias = "context", value_name = "TOKENS", value_parser = at_least_one, env = "STABLEMATE_CTX_SIZE")]
    pub ctx_size: Option<usize>,
    /// Memory for weights and cache together, such as 4G [default: half of the machine's for the cache]
    #[arg(long, value_name = "BYTES", value_parser = serve::bytes, env = "STABLEMATE_MEMORY")]
    pub memory: Option<usize>,
}

/// How numbers are held and computed with.
#[derive(Args, Clone, Debug)]
pub struct ArithmeticArguments {
    /// Who computes: kernels of this program, or IREE alone from the portable text
    #[arg(long, default_value = "native", value_name = "WHO", value_parser = backend())]
    pub backend: Backend,
    /// Instructions that native kernels use [default: the best of this machine]
    #[arg(long, value_name = "SET", value_parser = isa())]
    pub isa: Option<Isa>,
    /// How products with quantised weights round activations: not noticeably, or to 8 bits (faster, lossy)
    #[arg(long, default_value = "exact", value_name = "HOW", value_parser = activations())]
    pub activations: Activations,
    /// How keys and values are kept: q8 is smaller and lossy
    #[arg(long, default_value = "f16", value_name = "TYPE", value_parser = cache_element())]
    pub kv_dtype: CacheElement,
    /// Quantise dense weights to this many bits while loading: 2, 3, 4, 5, 6 or 8
    #[arg(long, value_name = "BITS")]
    pub quantize: Option<usize>,
    /// Weights that share a scale, with --quantize: 32, 64 or 128
    #[arg(long, default_value_t = 64, value_name = "N", requires = "quantize")]
    pub group_size: usize,
}

/// How tokens are chosen.
#[derive(Args, Debug)]
pub struct SamplingArguments {
    /// Divides the logits; 0 always takes the most probable token
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// Keep the K most probable tokens; 0 keeps all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Keep the fewest tokens whose probabilities reach P
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Keep tokens at least P times as probable as the most probable
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Keep the tokens whose surprise is nearest to the expected one until their probabilities reach P
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub typical_p: f32,
    /// Makes tokens of the prompt and the answer less likely: above 1
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub repetition_penalty: f32,
    /// Taken from a token's logit each time the answer holds it
    #[arg(long, default_value_t = 0.0, value_name = "PENALTY", allow_hyphen_values = true)]
    pub frequency_penalty: f32,
    /// Taken from a token's logit if the answer holds it
    #[arg(long, default_value_t = 0.0, value_name = "PENALTY", allow_hyphen_values = true)]
    pub presence_penalty: f32,
    /// The same seed gives the same tokens [default: a new one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The most tokens to make [default: until the model ends the text or the context is full]
    #[arg(long, short = 'n', value_name = "N")]
    pub max_tokens: Option<usize>,
    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on after end-of-sequence tokens
    #[arg(long)]
    pub ignore_eos: bool,
}

/// `run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// Text to answer, or with --raw to continue; - reads it from standard input
    #[arg(required_unless_present = "prompt_ids", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Token ids to continue, as they are: 1,2,3
    #[arg(long, value_delimiter = ',', value_parser = token_id, value_name = "IDS", conflicts_with = "prompt")]
    pub prompt_ids: Option<Vec<u32>>,
    /// A system message before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["raw", "prompt_ids"])]
    pub system: Option<String>,
    /// Continue the text as it is, without the model's chat template
    #[arg(long)]
    pub raw: bool,
    /// Print one JSON object: prompt_ids, token_ids, text, finish_reason, seed, timings
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sampling: SamplingArguments,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// `chat`.
#[derive(Args, Debug)]
pub struct ChatArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// A system message before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub sampling: SamplingArguments,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// Which entry points, with which sizes.
#[derive(Args, Debug)]
pub struct EntryArguments {
    /// Entry points to write; may be given several times [default: prefill and decode]
    #[arg(long = "entry", value_name = "NAME", value_parser = EmitOptions::ENTRIES)]
    pub entries: Vec<String>,
    /// Tokens of a prefill step
    #[arg(long, default_value_t = 128, value_name = "T", value_parser = at_least_one)]
    pub tokens: usize,
    /// Sequences of a decode step
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = at_least_one)]
    pub sequences: usize,
    /// Tokens a sequence may have [default: the model's, at most 2048]
    #[arg(long, visible_alias = "ctx-size", value_name = "TOKENS", value_parser = at_least_one)]
    pub context: Option<usize>,
}

/// `emit`.
#[derive(Args, Debug)]
pub struct EmitArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// Write to a file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub entries: EntryArguments,
}

/// `compile`.
#[derive(Args, Debug)]
pub struct CompileArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// Folder for module.mlir, module.vmfb and module.json
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// What to compile for: host, llvm-cpu[:TRIPLE:CPU], vmvx, cuda:sm_80, vulkan-spirv:ampere, rocm:gfx942
    #[arg(long, default_value = "host")]
    pub target: String,
    #[command(flatten)]
    pub entries: EntryArguments,
}

/// `inspect`.
#[derive(Args, Debug)]
pub struct InspectArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// List every parameter
    #[arg(long)]
    pub parameters: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `logits`.
#[derive(Args, Debug)]
pub struct LogitsArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// Token ids: 1,2,3
    #[arg(long, value_delimiter = ',', value_parser = token_id, value_name = "IDS", required_unless_present = "prompt")]
    pub prompt_ids: Option<Vec<u32>>,
    /// Text, without the model's chat template
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_ids")]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// `tokenize`.
#[derive(Args, Debug)]
pub struct TokenizeArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// The text; - reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub text: String,
    /// Leave out the tokens that begin or end a text
    #[arg(long)]
    pub no_special: bool,
    /// Print each token beside its id
    #[arg(long)]
    pub pieces: bool,
}

/// `bench`.
#[derive(Args, Debug)]
pub struct BenchArguments {
    /// A Hugging Face directory, a .gguf file, or a hub id: organisation/name[@revision][:file.gguf]
    #[arg(
        value_name = "MODEL",
        required_unless_present = "server",
        default_value = "",
        hide_default_value = true
    )]
    pub model: String,
    /// Tokens of the prompts to process
    #[arg(
        short = 'p',
        long,
        value_delimiter = ',',
        default_value = "128,512",
        value_name = "TOKENS"
    )]
    pub prompt: Vec<usize>,
    /// Tokens to generate, for each sequence
    #[arg(short = 'n', long, default_value_t = 32, value_name = "TOKENS")]
    pub generate: usize,
    /// Sequences that generate at the same time
    #[arg(short, long, value_delimiter = ',', default_value = "1", value_parser = at_least_one, value_name = "SEQUENCES")]
    pub batch: Vec<usize>,
    /// Tokens of context before generation
    #[arg(short, long, value_delimiter = ',', default_value = "0", value_name = "TOKENS")]
    pub depth: Vec<usize>,
    /// Repetitions; medians are shown
    #[arg(short, long, default_value_t = 5, value_parser = at_least_one, value_name = "N")]
    pub repetitions: usize,
    /// Form of the report
    #[arg(short, long, default_value = "table", value_enum)]
    pub output: ReportFormat,
    /// Measure what standard input asks for, a JSON object per line, and answer with one each
    #[arg(long, hide = true)]
    pub session: bool,
    #[command(flatten)]
    pub server: ServerLoadArguments,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Aligned columns.
    Table,
    /// A table in Markdown.
    Markdown,
    /// One JSON object.
    Json,
}

/// `verify`.
#[derive(Args, Debug)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// A text to continue; may be given several times [default: three short ones, or made-up token ids]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// Token ids to continue: 1,2,3
    #[arg(long, value_delimiter = ',', value_parser = token_id, value_name = "IDS", conflicts_with = "prompt")]
    pub prompt_ids: Option<Vec<u32>>,
    /// Greedy tokens of each
    #[arg(short = 'n', long, default_value_t = 32, value_parser = at_least_one, value_name = "N")]
    pub max_tokens: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// `quantize`.
#[derive(Args, Debug)]
pub struct QuantizeArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    /// Folder to write, in MLX's layout; must not hold anything yet
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// Bits of a weight: 2, 3, 4, 5, 6 or 8
    #[arg(long, default_value_t = 4, value_name = "BITS")]
    pub bits: usize,
    /// Weights that share a scale and a bias: 32, 64 or 128
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub group_size: usize,
}

/// `setup`.
#[derive(Args, Debug)]
pub struct SetupArguments {
    /// Install from this wheel of iree-base-compiler, instead of downloading it with pip
    #[arg(long, value_name = "FILE")]
    pub wheel: Option<PathBuf>,
    /// The Python whose pip downloads the wheel
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    pub python: PathBuf,
}

/// A token id, with or without space around it.
fn token_id(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|error| format!("{text:?} is no token id ({error}); give 1,2,3"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("must be 1 or more".to_string()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}
