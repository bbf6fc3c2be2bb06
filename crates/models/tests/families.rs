//! Every fixture is described and its entry points are built.

use stablemate_checkpoint::RawConfig;
use stablemate_models::{Bucket, Decoder, EntryPoint, Output};
use std::path::Path;

#[test]
fn emit_all() {
    let root = Path::new("/work/main/fixtures");
    for entry in std::fs::read_dir(root).unwrap() {
        let directory = entry.unwrap().path();
        let file = directory.join("config.json");
        if !file.exists() { continue; }
        let config = RawConfig::from_json(&std::fs::read_to_string(&file).unwrap(), &file).unwrap();
        let decoder = match Decoder::describe(&config) { Ok(d) => d, Err(e) => { println!("FAIL {e}"); continue } };
        println!("{}", decoder.summary());
        let entries = [
            EntryPoint { name: "prefill".into(), bucket: Bucket::prefill(16, 64), output: Output::Logits },
            EntryPoint { name: "decode".into(), bucket: Bucket::decode(1, 64), output: Output::Logits },
            EntryPoint { name: "decode_argmax".into(), bucket: Bucket::decode(2, 64), output: Output::Argmax },
        ];
        let module = decoder.module(&entries).unwrap();
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        std::fs::write(format!("/tmp/emit/{name}.mlir"), module.to_string()).unwrap();
    }
}
