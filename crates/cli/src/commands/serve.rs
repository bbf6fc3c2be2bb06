//! `stablemate serve`

use crate::arguments::{LogFormat, NetworkArguments, ServeArguments};
use crate::environment::Environment;
use crate::output;
use anyhow::Context;
use stablemate::text::Tokenizer;
use stablemate::{LoadOptions, Model, Progress, ProgressSink, Service, ServiceOptions};
use stablemate_server::{Callbacks, Conversation, Loading, Options, Served, Stopper, Tls};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub fn run(arguments: &ServeArguments, environment: &Environment) -> anyhow::Result<()> {
    let mut options = options(&arguments.network)?;
    options.lenient = arguments.lenient;
    options.any_model = arguments.any_model;
    options.parse_special = arguments.parse_special;
    let template = arguments.chat_template_file.as_deref().map(template).transpose()?;
    let path = environment.resolve(&arguments.model)?;
    let plan = Plan {
        load: LoadOptions {
            progress: progress(environment.bars.sink(), &options.loading, arguments.log_format),
            ..environment.load_options(&arguments.load)
        },
        service: ServiceOptions {
            parallel: arguments.engine.parallel,
            queue: arguments.engine.queue,
            prefix_cache: !arguments.engine.no_prefix_cache,
            pace: arguments.engine.pace,
        },
        id: id(&arguments.model.model, &path),
        aliases: arguments.alias.clone(),
        template,
        max_tokens: arguments.max_tokens,
        obeys_generation_config: !arguments.ignore_generation_config,
        log: arguments.log_format,
    };
    let log = arguments.log_format;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let bars = environment.bars.clone();
    let loading = bars.clone();
    let load = move || {
        let served = plan.load(&path);
        loading.clear();
        served.map_err(|error| output::explained(&error))
    };
    let callbacks = Callbacks {
        listening: Some(Box::new(move |address| {
            output::log(log, &format!("listening at {scheme}://{address}"));
        })),
        ready: Some(Box::new(move || output::log(log, "ready"))),
        draining: Some(Box::new(move || {
            output::log(log, "stopping: requests under way may finish; stop again to end at once");
        })),
    };
    let ended = stablemate_server::serve(options, callbacks, Stopper::default(), load);
    // The model may still be loading: nobody waits for its steps any more.
    stablemate::runtime::end_compilers();
    Ok(ended?)
}

/// A chat template from a file, whose syntax is right: so that no model is loaded in vain.
fn template(path: &Path) -> anyhow::Result<String> {
    let source = read(path)?;
    let checked = stablemate::text::ChatTemplate::new(&source, None, None);
    checked.with_context(|| format!("{}", path.display()))?;
    Ok(source)
}

/// Where progress goes: to the bars, to `/health`, and where there is no terminal also a line per compiled step.
fn progress(bars: ProgressSink, loading: &Loading, log: LogFormat) -> ProgressSink {
    let loading = loading.clone();
    let begun = Mutex::new(HashMap::new());
    let quiet = std::io::stderr().is_terminal();
    Arc::new(move |step| {
        match &step {
            Progress::Load { done, total } => {
                let share = if *total > 0 { done.saturating_mul(100) / total } else { 0 };
                loading.tell(format!("load weights, {share} %"));
            }
            Progress::CompileBegin { what } => {
                loading.tell(format!("compile {what}"));
                let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                begun.insert(what.clone(), Instant::now());
            }
            Progress::CompileEnd { what } => {
                let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                let seconds = begun.remove(what).map_or(0.0, |begun| begun.elapsed().as_secs_f64());
                if !quiet {
                    output::log(log, &format!("compiled {what} in {seconds:.1} s"));
                }
            }
            _ => {}
        }
        bars(step);
    })
}

/// How clients know the model: the file's or folder's name, or the hub's.
fn id(model: &str, path: &Path) -> String {
    if !Path::new(model).exists() {
        // organisation/name[@revision][:file]
        return model.split(['@', ':']).next().unwrap_or(model).to_string();
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".to_string(), |name| name.to_string_lossy().into_owned())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))
}

fn options(network: &NetworkArguments) -> anyhow::Result<Options> {
    let mut api_keys = network.api_key.clone();
    if let Some(path) = &network.api_key_file {
        let text = read(path)?;
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = api_keys.len();
        api_keys.extend(keys.map(str::to_owned));
        anyhow::ensure!(api_keys.len() > before, "{}: there is no key in it", path.display());
    }
    anyhow::ensure!(api_keys.iter().all(|key| !key.is_empty()), "an API key is empty");
    let tls = network.ssl_cert_file.clone().zip(network.ssl_key_file.clone());
    Ok(Options {
        host: network.host.clone(),
        port: network.port,
        api_keys,
        tls: tls.map(|(certificates, key)| Tls { certificates, key }),
        cors_origins: network.cors_origin.clone(),
        body_limit: network.body_limit.saturating_mul(1 << 20),
        drain_deadline: Duration::from_secs(network.drain_seconds),
        metrics: !network.no_metrics,
        hosts: network.allowed_host.clone(),
        ..Options::default()
    })
}

/// What is loaded, and how.
struct Plan {
    load: LoadOptions,
    service: ServiceOptions,
    id: String,
    aliases: Vec<String>,
    template: Option<String>,
    max_tokens: Option<usize>,
    obeys_generation_config: bool,
    log: LogFormat,
}

impl Plan {
    fn load(self, path: &Path) -> anyhow::Result<Served> {
        let model = Model::load(path, &self.load)?;
        for setting in model.unapplied_settings() {
            if self.obeys_generation_config && setting.starts_with("repetition_penalty ") {
                continue; // Requests get it unless they say otherwise.
            }
            let text = format!("generation_config.json asks for {setting}, which is not applied");
            output::log(self.log, &text);
        }
        let service = model.into_service(&self.service)?;
        if let Some(asked) = self.load.context.filter(|asked| *asked > service.memory.context) {
            let text = format!(
                "--ctx-size is {asked}, but this model's sequences have {} tokens at most",
                service.memory.context
            );
            output::log(self.log, &text);
        }
        output::log(self.log, &self.summary(&service));
        let tokenizer = match service.tokenizer {
            Ok(Some(tokenizer)) => Ok(tokenizer),
            Ok(None) => Err("the checkpoint has none".to_string()),
            Err(message) => Err(message),
        };
        if let Err(message) = &tokenizer {
            output::log(self.log, &format!("there will be no text: {message}"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        Ok(Served {
            conversation: conversation(tokenizer.as_ref().ok(), self.template.as_deref())?,
            tokenizer,
            engine: service.engine,
            end_ids: service.end_ids,
            system_fingerprint: format!("stablemate-{version}-{}", self.id),
            id: self.id,
            aliases: self.aliases,
            created: now.as_secs(),
            sampling: self.obeys_generation_config.then_some(service.sampling),
            max_tokens: self.max_tokens,
        })
    }

    fn summary(&self, service: &Service) -> String {
        let memory = &service.memory;
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        let state = match service.slots {
            0 => String::new(),
            slots => format!("; state {} MiB: {slots} slots", mib(memory.state(slots))),
        };
        format!(
            "{}: {}; weights {} MiB, cache {} MiB: {} blocks for {} sequences of up to {} tokens{state}",
            self.id,
            service.arithmetic,
            mib(memory.weights),
            mib(service.blocks * memory.block),
            service.blocks,
            self.service.parallel,
            memory.context,
        )
    }
}

/// How the model converses: by the caller's template, or by its own.
fn conversation(
    tokenizer: Option<&Tokenizer>,
    own: Option<&str>,
) -> anyhow::Result<Result<Conversation, String>> {
    let Some(tokenizer) = tokenizer else { return Ok(Err("there is no tokenizer".to_string())) };
    match Conversation::new(tokenizer, own) {
        Err(error) if own.is_some() => Err(error.into()),
        made => Ok(made.map_err(|error| error.to_string())),
    }
}
