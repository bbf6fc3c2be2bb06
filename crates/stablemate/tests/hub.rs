//! Models of a hub, fetched from a server on this machine.

#[path = "hub/server.rs"]
mod server;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use server::{COMMIT, Ranges, Server, etag};
use stablemate::hub::{Download, Hub, HubError, ModelId};
use tempfile::TempDir;

const WEIGHTS: &[u8] = &[7; 300_000];

fn single() -> Server {
    Server::start(&[
        (".gitattributes", b"x"),
        ("README.md", b"# Model"),
        ("config.json", b"{}"),
        ("generation_config.json", b""),
        ("tokenizer.json", b"{\"version\": \"1.0\"}"),
        ("additional_chat_templates/tool_use.jinja", b"{{ tools }}"),
        ("model.safetensors", WEIGHTS),
        ("pytorch_model.bin", WEIGHTS),
        ("onnx/model.onnx", WEIGHTS),
    ])
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    Hub {
        endpoint: server.endpoint.clone(),
        cache: cache.path().join("hub"),
        token: None,
        offline: false,
    }
}

fn fetch(hub: &Hub, id: &str) -> Result<PathBuf, HubError> {
    hub.fetch(&ModelId::parse(id).unwrap(), &|_| {})
}

fn message(hub: &Hub, id: &str, words: &[&str]) -> String {
    let message = fetch(hub, id).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    message
}

/// All files below a folder, by relative path.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn repository(hub: &Hub) -> PathBuf {
    hub.cache.join("models--organisation--name")
}

#[test]
fn a_single_file_model_in_the_shared_layout() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let events = RefCell::new(Vec::<Download>::new());
    let id = ModelId::parse("organisation/name").unwrap();
    let path = hub.fetch(&id, &|event| events.borrow_mut().push(event)).unwrap();

    let repository = repository(&hub);
    assert_eq!(path, repository.join("snapshots").join(COMMIT));
    let expected = [
        "additional_chat_templates/tool_use.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ];
    assert_eq!(files(&path), expected);
    for name in expected {
        let (bytes, depth) = (server.hub().files[name].clone(), name.split('/').count() + 1);
        assert_eq!(fs::read(path.join(name)).unwrap(), bytes, "{name}");
        let link = fs::read_link(path.join(name)).unwrap();
        let blob = Path::new(&"../".repeat(depth)).join("blobs").join(etag(name, &bytes));
        assert_eq!(link, blob, "{name}");
        let last = events.borrow().iter().rfind(|event| event.file == name).cloned().unwrap();
        assert_eq!((last.bytes_done, last.bytes_total), (bytes.len() as u64, bytes.len() as u64));
    }
    assert_eq!(events.borrow().last().unwrap().file, "model.safetensors", "weights come last");
    assert_eq!(files(&repository.join("blobs")).len(), expected.len());
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
}

#[test]
fn a_second_fetch_downloads_nothing() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let path = fetch(&hub, "organisation/name").unwrap();
    server.hub().log.clear();
    assert_eq!(fetch(&hub, "organisation/name").unwrap(), path);
    assert_eq!(server.hub().log, ["GET /api/models/organisation/name/revision/main?blobs=true"]);
    assert_eq!(fetch(&hub, "organisation/name@refs/pr/1").unwrap(), path);
    assert_eq!(fetch(&hub, &format!("organisation/name@{COMMIT}")).unwrap(), path);
    assert_eq!(server.hub().transfers(), 0);
    assert_eq!(files(&repository(&hub).join("refs")), ["main", "refs/pr/1"]);
}

#[test]
fn a_new_commit_downloads_what_changed() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let old = fetch(&hub, "organisation/name").unwrap();
    let commit = COMMIT.replace('0', "f");
    {
        let mut hub = server.hub();
        hub.commit.clone_from(&commit);
        hub.files.insert("config.json".to_owned(), b"{\"new\": 1}".to_vec());
        hub.log.clear();
    }
    let new = fetch(&hub, "organisation/name").unwrap();
    assert!(new.ends_with(&commit) && new != old);
    assert_eq!(fs::read(new.join("config.json")).unwrap(), b"{\"new\": 1}");
    assert_eq!(fs::read(old.join("config.json")).unwrap(), b"{}");
    assert_eq!(server.hub().transfers(), 2, "one file, redirected: {:?}", server.hub().log);
    assert_eq!(fs::read_to_string(repository(&hub).join("refs/main")).unwrap(), commit);
}

#[test]
fn shards_are_those_that_the_index_names() {
    let index = br#"{"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}"#;
    let server = Server::start(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"first"),
        ("model-2.safetensors", b"second"),
        ("model-3.safetensors", b"of another index"),
    ]);
    let cache = TempDir::new().unwrap();
    let hub = hub(&server, &cache);
    let path = fetch(&hub, "organisation/name").unwrap();
    let expected = [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(files(&path), expected);

    let offline = Hub { offline: true, ..hub.clone() };
    assert_eq!(fetch(&offline, "organisation/name").unwrap(), path);
    fs::remove_file(fs::canonicalize(path.join("model-2.safetensors")).unwrap()).unwrap();
    message(&offline, "organisation/name", &["model-2.safetensors", "HF_HUB_OFFLINE"]);
    assert_eq!(fetch(&hub, "organisation/name").unwrap(), path);
    assert_eq!(fs::read(path.join("model-2.safetensors")).unwrap(), b"second");

    server.hub().files.remove("model-1.safetensors");
    message(&hub, "organisation/name", &["has no model-1.safetensors"]);
}

#[test]
fn gguf_files_by_name_or_alone() {
    let parts: [(&str, &[u8]); 2] =
        [("q8/x-00001-of-00002.gguf", b"one"), ("q8/x-00002-of-00002.gguf", b"two")];
    let server =
        Server::start(&[parts[0], parts[1], ("config.json", b"{}"), ("x q4.gguf", b"four")]);
    let cache = TempDir::new().unwrap();
    let hub = hub(&server, &cache);
    message(
        &hub,
        "organisation/name@v1",
        &["several", "`organisation/name@v1:q8/x-00001-of-00002.gguf`", "x q4.gguf"],
    );
    message(&hub, "organisation/name:y.gguf", &["no y.gguf", "x q4.gguf"]);
    let path = fetch(&hub, "organisation/name:x q4.gguf").unwrap();
    assert!(path.ends_with(format!("snapshots/{COMMIT}/x q4.gguf")));
    assert_eq!(fs::read(&path).unwrap(), b"four");

    let first = fetch(&hub, "organisation/name:q8/x-00001-of-00002.gguf").unwrap();
    assert_eq!(fs::read(&first).unwrap(), b"one");
    assert_eq!(fs::read(first.with_file_name("x-00002-of-00002.gguf")).unwrap(), b"two");

    server.hub().files.remove("x q4.gguf");
    assert_eq!(fetch(&hub, "organisation/name").unwrap(), first);
    let offline = Hub { offline: true, ..hub.clone() };
    assert_eq!(fetch(&offline, "organisation/name:x q4.gguf").unwrap(), path);
    message(
        &offline,
        "organisation/name:y.gguf",
        &["y.gguf is not in the cache", "HF_HUB_OFFLINE"],
    );
}

#[test]
fn without_a_network() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let offline = Hub { offline: true, ..hub.clone() };
    message(
        &offline,
        "organisation/name",
        &["revision `main` is not in the cache", "HF_HUB_OFFLINE"],
    );
    // An address where nobody listens: the cache serves when it has everything.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = Hub { endpoint: format!("http://{unused}"), ..hub.clone() };
    message(
        &unreachable,
        "organisation/name",
        &["cannot reach", &unused.to_string(), "HF_ENDPOINT"],
    );

    let path = fetch(&hub, "organisation/name@v1").unwrap();
    server.hub().log.clear();
    assert_eq!(fetch(&offline, "organisation/name@v1").unwrap(), path);
    assert_eq!(fetch(&unreachable, "organisation/name@v1").unwrap(), path);
    assert_eq!(fetch(&offline, &format!("organisation/name@{COMMIT}")).unwrap(), path);
    message(&offline, "organisation/name", &["revision `main`"]);
    assert_eq!(server.hub().log, [""; 0]);

    fs::remove_file(path.join("model.safetensors")).unwrap();
    message(&offline, "organisation/name@v1", &["the weights file", "HF_HUB_OFFLINE"]);
    message(&unreachable, "organisation/name@v1", &["cannot reach"]);
}

#[test]
fn a_gated_model_wants_a_token_that_no_other_host_sees() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let mut hub = hub(&server, &cache);
    server.hub().token = Some("right".to_owned());
    let refused = message(
        &hub,
        "organisation/name",
        &["gated or private", "set HF_TOKEN", "401", "Access is restricted"],
    );
    assert!(refused.contains("`organisation/name`"), "{refused}");
    hub.token = Some("wrong".to_owned());
    let refused = message(&hub, "organisation/name", &["token in use", "HF_TOKEN"]);
    assert!(!refused.contains("wrong"), "{refused}");
    hub.token = Some("right".to_owned());
    let path = fetch(&hub, "organisation/name").unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), WEIGHTS);
    assert!(!server.hub().leaked);
    server.hub().overrides =
        vec![("/api/".to_owned(), "403 Forbidden\r\ncontent-length: 0".to_owned())];
    message(&hub, "organisation/name", &["403", "gated"]);
}

#[test]
fn what_does_not_exist_is_named() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    message(
        &hub,
        "organisation/name@v2",
        &["`organisation/name`", "revision `v2`", "Invalid rev id", "404"],
    );
    message(
        &hub,
        "organisation/other",
        &["`organisation/other`", "revision `main`", &server.endpoint],
    );
    server.hub().files.retain(|name, _| name != "model.safetensors");
    message(
        &hub,
        "organisation/name",
        &["pytorch_model.bin", "safetensors", "`organisation/name`"],
    );
    server.hub().overrides = vec![(
        "/api/models/".to_owned(),
        "503 Service Unavailable\r\ncontent-length: 0".to_owned(),
    )];
    message(&hub, "organisation/name", &["503", "/api/models/organisation/name/revision/main"]);
}

/// The starts of the transfers of the weights, as the store saw them.
fn starts(server: &Server) -> Vec<String> {
    let prefix = "GET /store/model.safetensors";
    let log = server.hub().log.clone();
    log.iter()
        .filter_map(|line| line.strip_prefix(prefix))
        .map(|rest| rest.trim().to_owned())
        .collect()
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    server.hub().breaks.insert("model.safetensors".to_owned(), (100_000, 2));
    let path = fetch(&hub(&server, &cache), "organisation/name").unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), WEIGHTS);
    assert_eq!(starts(&server), ["", "100000", "200000"]);

    // Where that is not possible, it begins anew.
    for ranges in [Ranges::Ignored, Ranges::Refused] {
        let cache = TempDir::new().unwrap();
        {
            let mut hub = server.hub();
            hub.breaks.insert("model.safetensors".to_owned(), (100_000, 1));
            hub.ranges = ranges;
            hub.log.clear();
        }
        let path = fetch(&hub(&server, &cache), "organisation/name").unwrap();
        assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), WEIGHTS);
        assert_eq!(starts(&server)[..2], ["", "100000"]);
    }
}

#[test]
fn an_incomplete_file_is_never_taken_for_the_file() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let broken = ("/store/".to_owned(), "200 OK\r\ncontent-length: 5\r\n\r\nshort".to_owned());
    server.hub().overrides = vec![broken];
    message(
        &hub,
        "organisation/name",
        &["model.safetensors", "after 5 of 300000 bytes", "goes on"],
    );
    let snapshot = repository(&hub).join("snapshots").join(COMMIT);
    assert!(!snapshot.join("model.safetensors").exists());
    assert!(!repository(&hub).join("refs/main").exists());
    let blob = repository(&hub).join("blobs").join(etag("model.safetensors", WEIGHTS));
    assert!(!blob.exists());

    // The bytes that were left are not those of the file: found out by the hash, then mended.
    server.hub().overrides.clear();
    message(&hub, "organisation/name", &["SHA-256", "deleted"]);
    assert!(!blob.exists());
    let path = fetch(&hub, "organisation/name").unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), WEIGHTS);

    // A file that something truncated later is not the file either.
    fs::write(&blob, b"short").unwrap();
    fetch(&hub, "organisation/name").unwrap();
    assert_eq!(fs::read(&blob).unwrap(), WEIGHTS);
    assert_eq!(files(&repository(&hub).join("blobs")).len(), 5, "nothing incomplete is left");
}

#[test]
fn an_earlier_process_left_part_of_a_file() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let blobs = repository(&hub).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let etag = etag("model.safetensors", WEIGHTS);
    let incomplete = blobs.join(format!("{etag}.stablemate.incomplete"));
    for (left, starts_expected) in
        [(250_000, vec!["250000"]), (300_000, vec![]), (300_001, vec![""])]
    {
        fs::write(&incomplete, vec![7; left]).unwrap();
        server.hub().log.clear();
        let path = fetch(&hub, "organisation/name").unwrap();
        assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), WEIGHTS);
        assert_eq!(starts(&server), starts_expected, "{left}");
        fs::remove_file(blobs.join(&etag)).unwrap();
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    {
        let mut hub = server.hub();
        let bytes: Vec<u8> = (0..1000_u32).map(|value| (value % 251) as u8).collect();
        hub.files.insert("model.safetensors".to_owned(), bytes);
        hub.damaged.push("model.safetensors".to_owned());
    }
    message(&hub, "organisation/name", &["model.safetensors", "SHA-256"]);
    server.hub().damaged.clear();
    fetch(&hub, "organisation/name").unwrap();
}

#[test]
fn a_hostile_hub_gets_nothing_written_elsewhere() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let listing = |sha: &str, name: &str| {
        let body = format!(r#"{{"sha": "{sha}", "siblings": [{{"rfilename": "{name}"}}]}}"#);
        format!("200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let head = |headers: &str| format!("200 OK\r\n{headers}");
    let cases = [
        ("/api/models", listing("../../../evil", "x.gguf"), "commit hash"),
        ("/api/models", listing(COMMIT, "../../../evil.gguf"), "file name"),
        ("/api/models", listing(COMMIT, "/tmp/evil.gguf"), "file name"),
        ("/api/models", "200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(), "not a description"),
        ("/api/models", "200 OK\r\ncontent-length: 1\r\n\r\n[".to_owned(), "not a description"),
        ("/resolve/", head("etag: \"../../../evil\"\r\ncontent-length: 2"), "etag"),
        ("/resolve/", head("content-length: 2"), "no etag"),
        ("/resolve/", head("etag: \"0\"\r\nx-linked-size: -1"), "size"),
        (
            "/resolve/",
            "307 x\r\nlocation: /resolve/\r\ncontent-length: 0".to_owned(),
            "redirections",
        ),
        ("/resolve/", "307 x\r\nlocation: http://[\r\ncontent-length: 0".to_owned(), "etag"),
        ("/resolve/", "304 x\r\ncontent-length: 0".to_owned(), "etag"),
        ("/store/", "206 x\r\ncontent-length: 0".to_owned(), "not the bytes from 0"),
        ("/store/", format!("200 x\r\n\r\n{}", "7".repeat(300_001)), "more than the 300000"),
    ];
    for (address, answer, word) in cases {
        server.hub().overrides = vec![(address.to_owned(), answer)];
        message(&hub, "organisation/name", &[word]);
        let blobs = repository(&hub).join("blobs");
        let written = files(cache.path());
        assert!(!written.iter().any(|name| name.contains("evil")), "{word}: {written:?}");
        assert!(!blobs.join(etag("model.safetensors", WEIGHTS)).exists(), "{word}");
    }
}

#[test]
fn two_at_once_download_once() {
    let (server, cache) = (single(), TempDir::new().unwrap());
    let hub = hub(&server, &cache);
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let tasks: Vec<_> =
            (0..4).map(|_| scope.spawn(|| fetch(&hub, "organisation/name").unwrap())).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]));
    assert_eq!(fs::read(paths[0].join("model.safetensors")).unwrap(), WEIGHTS);
    assert_eq!(starts(&server), [""]);
}
