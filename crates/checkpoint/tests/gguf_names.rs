//! Tensor names compared with gguf-py's table (`oracle/gguf_names.py`).

use std::collections::BTreeMap;
use std::path::Path;

use stablemate_checkpoint::gguf::Layout;

/// The name under which a reader gets a tensor that the converter looks up as `name`.
fn presented(architecture: &str, name: &str) -> String {
    let mut name = name.to_owned();
    for (looked_up, presented) in [
        ("dt_proj.bias", "dt_bias"),
        ("A_log", "A"),
        (".k_b_proj", ".embed_q"),
        (".v_b_proj", ".unembed_out"),
        ("e_score_correction.bias", "e_score_correction_bias"),
    ] {
        name = name.replace(looked_up, presented);
    }
    match architecture {
        "gpt-oss" => name,
        "gpt2" if name.contains(".c_") => name.replace(".weight", ".transposed_weight"),
        _ => name.replace("mlp.experts.", "mlp.switch_mlp."),
    }
}

#[test]
fn every_name_is_gguf_py_s() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gguf_names.json");
    let text = std::fs::read_to_string(path).unwrap();
    let all: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&text).unwrap();
    assert_eq!(all.len(), 18);
    for (architecture, pairs) in all {
        assert!(pairs.len() >= 9, "{architecture}");
        for (name, expected) in pairs {
            let name = presented(&architecture, &name);
            let stored = Layout::all(&architecture).find_map(|layout| layout.stored(&name));
            let stored = stored.map(|(stored, _)| stored);
            assert_eq!(stored.as_deref(), Some(&*expected), "{architecture} {name}");
        }
    }
}
