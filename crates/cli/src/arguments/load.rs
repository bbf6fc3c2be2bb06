//! The command lines of loads on a server: `bench --server` and `soak`.

use super::{ReportFormat, at_least_one};
use clap::{Args, ValueEnum};

/// Which server, and what it is sent.
#[derive(Args, Clone, Debug)]
pub struct TargetArguments {
    /// Name of the model there [default: the first of /v1/models]
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub model_name: Option<String>,
    /// The server's key
    #[arg(long, value_name = "KEY", env = "STABLEMATE_API_KEY", hide_env_values = true, help_heading = HEADING)]
    pub api_key: Option<String>,
    /// Prompts are random token ids from this range
    #[arg(long, value_name = "LOW..HIGH", value_parser = range, help_heading = HEADING)]
    pub token_ids: Option<(usize, usize)>,
    /// The same seed gives the same prompts, which a server may have cached [default: a new one each time]
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub load_seed: Option<u64>,
    /// Send only fields that other servers know, too
    #[arg(long, help_heading = HEADING)]
    pub compatible: bool,
}

const HEADING: &str = "Load on a server";

/// What `bench` sends to a server.
#[derive(Args, Clone, Debug)]
pub struct ServerLoadArguments {
    /// Measure a running server instead of a model: its address, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", help_heading = HEADING)]
    pub server: Option<String>,
    /// What is measured
    #[arg(long, default_value = "sweep", value_enum, requires = "server", help_heading = HEADING)]
    pub pattern: Pattern,
    /// Clients at the same time, one level each (sweep)
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16", value_parser = at_least_one, value_name = "CLIENTS", help_heading = HEADING)]
    pub concurrency: Vec<usize>,
    /// Requests of each client (sweep)
    #[arg(long, default_value_t = 4, value_parser = at_least_one, value_name = "N", help_heading = HEADING)]
    pub requests: usize,
    /// Tokens of prompts (sweep), or of the newcomers' (steady)
    #[arg(long, value_name = "LOW..HIGH", value_parser = range, help_heading = HEADING)]
    pub prompt_tokens: Option<(usize, usize)>,
    /// Tokens of answers (sweep, steady)
    #[arg(long, value_name = "LOW..HIGH", value_parser = range, help_heading = HEADING)]
    pub output_tokens: Option<(usize, usize)>,
    /// Tokens that all prompts begin with (sweep, prefix)
    #[arg(long, value_name = "TOKENS", help_heading = HEADING)]
    pub prefix: Option<usize>,
    /// Streams whose pace is watched (steady)
    #[arg(long, default_value_t = 8, value_parser = at_least_one, value_name = "N", help_heading = HEADING)]
    pub streams: usize,
    /// Prompts that arrive at the same time (steady)
    #[arg(long, default_value_t = 1, value_parser = at_least_one, value_name = "N", help_heading = HEADING)]
    pub newcomers: usize,
    #[command(flatten)]
    pub target: TargetArguments,
}

/// What is measured of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Throughput and latencies by the number of clients
    Sweep,
    /// The pace of running streams while new prompts arrive, against their pace alone
    Steady,
    /// What a second prompt saves that begins like the first
    Prefix,
}

/// `soak`.
#[derive(Args, Debug)]
pub struct SoakArguments {
    /// The server: http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// Requests
    #[arg(long, default_value_t = 2000, value_parser = at_least_one, value_name = "N")]
    pub requests: usize,
    /// Clients at the same time
    #[arg(long, default_value_t = 16, value_parser = at_least_one, value_name = "N")]
    pub concurrency: usize,
    /// Tokens of prompts
    #[arg(long, default_value = "1..600", value_name = "LOW..HIGH", value_parser = range)]
    pub prompt_tokens: (usize, usize),
    /// Tokens of answers
    #[arg(long, default_value = "1..96", value_name = "LOW..HIGH", value_parser = range)]
    pub output_tokens: (usize, usize),
    /// Share of the requests whose client leaves before the end
    #[arg(long, default_value_t = 0.4, value_name = "SHARE", value_parser = share)]
    pub departures: f64,
    /// Answers that are asked for again, alone, and compared
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub samples: usize,
    /// The server's process, whose memory is watched
    #[arg(long, value_name = "PID")]
    pub process: Option<u32>,
    /// MiB that its memory may grow after the first tenth
    #[arg(long, default_value_t = 32, value_name = "MIB")]
    pub memory_growth: u64,
    /// Form of the report
    #[arg(short, long, default_value = "table", value_enum)]
    pub output: ReportFormat,
    #[command(flatten)]
    pub target: TargetArguments,
}

/// `16..1500`, both included, or a single number.
fn range(text: &str) -> Result<(usize, usize), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.parse::<usize>().map_err(|error| format!("{text:?}: {error}"));
    match (number(low)?, number(high)?) {
        (low, high) if low >= 1 && low <= high => Ok((low, high)),
        _ => Err("must be a number of at least 1, or a range such as 16..1500".to_string()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) => Err("must be between 0 and 1".to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_one_number_or_two() {
        assert_eq!(range("16..1500"), Ok((16, 1500)));
        assert_eq!(range("7"), Ok((7, 7)));
        for wrong in ["", "..", "0", "5..4", "a..b", "-1"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
