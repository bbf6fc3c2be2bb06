//! The command line of `serve`.

use super::{LoadArguments, ModelArgument, at_least_one};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `serve`.
#[derive(Args, Debug)]
pub struct ServeArguments {
    #[command(flatten)]
    pub model: ModelArgument,
    #[command(flatten)]
    pub network: NetworkArguments,
    #[command(flatten)]
    pub engine: EngineArguments,
    /// Another name of the model, besides that of its file; may be given several times
    #[arg(long, value_name = "NAME", env = "STABLEMATE_ALIAS", value_delimiter = ',')]
    pub alias: Vec<String>,
    /// A chat template instead of the model's own
    #[arg(long, value_name = "FILE", env = "STABLEMATE_CHAT_TEMPLATE_FILE")]
    pub chat_template_file: Option<PathBuf>,
    /// The most tokens of an answer where a request does not say [default: 16 for completions, the context for chat]
    #[arg(long, short = 'n', visible_alias = "n-predict", value_name = "N", value_parser = at_least_one)]
    pub max_tokens: Option<usize>,
    /// Do not take sampling parameters that a request leaves out from the model's files; use OpenAI's defaults
    #[arg(long)]
    pub ignore_generation_config: bool,
    /// Answer to every name of a model, as an alias * does
    #[arg(long)]
    pub any_model: bool,
    /// Take fields that are unknown and leave them alone, instead of refusing them
    #[arg(long, env = "STABLEMATE_LENIENT")]
    pub lenient: bool,
    /// Take special tokens that are written in messages for special tokens; they are letters otherwise
    #[arg(long)]
    pub parse_special: bool,
    /// Form of the log: a line per request
    #[arg(long, default_value = "text", value_enum, env = "STABLEMATE_LOG_FORMAT")]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub load: LoadArguments,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object per line.
    Json,
}

/// Where the server listens, and to whom.
#[derive(Args, Debug)]
pub struct NetworkArguments {
    /// The name or address to listen at
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST", env = "STABLEMATE_HOST")]
    pub host: String,
    /// The port; 0 takes any that is free
    #[arg(long, default_value_t = 8080, value_name = "PORT", env = "STABLEMATE_PORT")]
    pub port: u16,
    /// A key of which clients must show one; may be given several times [default: everybody may come in]
    #[arg(
        long,
        value_name = "KEY",
        env = "STABLEMATE_API_KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub api_key: Vec<String>,
    /// A file of keys, one per line; empty lines and lines that begin with # do not count
    #[arg(long, value_name = "FILE", env = "STABLEMATE_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,
    /// The certificate chain of TLS, PEM
    #[arg(long, value_name = "FILE", env = "STABLEMATE_SSL_CERT_FILE", requires = "ssl_key_file")]
    pub ssl_cert_file: Option<PathBuf>,
    /// The private key of TLS, PEM
    #[arg(long, value_name = "FILE", env = "STABLEMATE_SSL_KEY_FILE", requires = "ssl_cert_file")]
    pub ssl_key_file: Option<PathBuf>,
    /// An origin whose pages may ask, such as https://example.org, or * for any; may be given several times
    #[arg(long, value_name = "ORIGIN", env = "STABLEMATE_CORS_ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<String>,
    /// A name that a server without a key at loopback answers to in Host, besides loopback's; may be given several times
    #[arg(long, value_name = "HOST", env = "STABLEMATE_ALLOWED_HOST", value_delimiter = ',')]
    pub allowed_host: Vec<String>,
    /// The longest body of a request, in MiB
    #[arg(long, default_value_t = 32, value_name = "MIB", value_parser = at_least_one)]
    pub body_limit: usize,
    /// Seconds that requests under way may take once the server is told to stop
    #[arg(long, default_value_t = 30, value_name = "SECONDS", env = "STABLEMATE_DRAIN_SECONDS")]
    pub drain_seconds: u64,
    /// Do not offer /metrics
    #[arg(long)]
    pub no_metrics: bool,
}

/// How requests share the model.
#[derive(Args, Debug)]
pub struct EngineArguments {
    /// Sequences that run at the same time
    #[arg(long, visible_alias = "np", default_value_t = 8, value_name = "N", value_parser = at_least_one, env = "STABLEMATE_PARALLEL")]
    pub parallel: usize,
    /// Requests that may wait; more are refused with 429
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = at_least_one, env = "STABLEMATE_QUEUE")]
    pub queue: usize,
    /// While answers are being written, new prompts may make their steps about so many times as long
    #[arg(long, default_value_t = 2.0, value_name = "FACTOR", value_parser = pace)]
    pub pace: f64,
    /// Compute every prompt from its beginning
    #[arg(long)]
    pub no_prefix_cache: bool,
}

fn pace(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor >= 1.0 => Ok(factor),
        Ok(_) => Err("must be 1 or more".to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of bytes: 800M, 4G, 4GiB, or plain.
pub fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().trim_end_matches('b') {
        "" => 1.0,
        "k" | "ki" => 1024.0,
        "m" | "mi" => 1024.0 * 1024.0,
        "g" | "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err("the unit must be K, M or G".to_string()),
    };
    let bytes = digits.parse::<f64>().map_err(|error| error.to_string())? * unit;
    if (1.0..1e18).contains(&bytes) {
        Ok(bytes as usize)
    } else {
        Err("must be a number of bytes, such as 4G".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("1536"), Ok(1536));
        assert_eq!(bytes("1.5K"), Ok(1536));
        assert_eq!(bytes("4GiB"), Ok(4 << 30));
        assert_eq!(bytes("800m"), Ok(800 << 20));
        for wrong in ["", "G", "-1G", "4T", "inf", "nan", "1e30", "0"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
