//! The portable text compiles for every target.

mod support;

use stablemate::runtime::{Target, Toolchain, VmfbCache};
use stablemate::{EmitOptions, emit, open};
use stablemate_fixtures::Case;
use std::collections::BTreeSet;
use support::{folders, for_each};

/// A fixture's text, in the sizes of `stablemate emit` without options.
struct Text {
    name: String,
    text: String,
    /// The [`form`]s of its statements.
    forms: BTreeSet<String>,
}

fn text(case: &Case) -> Text {
    let opened = open(&case.directory).unwrap();
    // Two of the four entry points: the others differ in the head alone.
    let options = EmitOptions {
        entries: vec!["prefill".to_string(), "decode_argmax".to_string()],
        tokens: 128,
        sequences: 1,
        context: opened.decoder.context.unwrap_or(2048).min(2048),
    };
    let text = emit(&opened, &options).unwrap().to_string();
    for absent in ["custom_call", "f64", "?x"] {
        assert!(!text.contains(absent), "{}: the text contains {absent}", case.name());
    }
    Text { name: case.name().to_string(), forms: text.lines().map(form).collect(), text }
}

/// `%y = stablehlo.add %a, %b : tensor<2x3xf32>` as `% = stablehlo.add %, % : tensor<#x#xf32>`: sizes may differ, but
/// neither ranks nor types of elements. How many numbers a constant has, and how many results a function, does not matter.
fn form(line: &str) -> String {
    let mut form = String::new();
    let mut characters = line.trim().chars().peekable();
    let of_name = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '.' | '#');
    while let Some(character) = characters.next() {
        let of_type = form.ends_with(|c: char| c.is_ascii_digit() || matches!(c, 'f' | 'i'));
        if character.is_ascii_digit() && !of_type {
            while characters.next_if(|c| c.is_ascii_digit() || *c == '.').is_some() {}
            form.push('#');
            continue;
        }
        form.push(character);
        if matches!(character, '%' | '@') {
            while characters.next_if(of_name).is_some() {}
        }
    }
    if form.contains("dense<[") || form.starts_with([')', 'r']) {
        let form = form.replace("#e-#", "#").replace("#e#", "#").replace("-#", "#");
        let parts: BTreeSet<&str> = form.split(", ").collect();
        return parts.into_iter().collect::<Vec<_>>().join(", ");
    }
    form
}

/// A cheap choice of texts in which there are all forms of statements that are in any of them. What the others would add is numbers and
/// orders, at half a minute of compiling each.
fn telling(mut texts: Vec<Text>) -> Vec<Text> {
    let mut telling = Vec::new();
    let mut missing: BTreeSet<String> =
        texts.iter().flat_map(|text| text.forms.iter().cloned()).collect();
    while !missing.is_empty() {
        let new = |text: &Text| text.forms.intersection(&missing).count();
        // The most new forms for a text's length, which its time goes with.
        let gain = |text: &Text| new(text) as f64 / text.text.len() as f64;
        let best =
            (0..texts.len()).max_by(|&a, &b| gain(&texts[a]).total_cmp(&gain(&texts[b]))).unwrap();
        let best = texts.swap_remove(best);
        missing.retain(|form| !best.forms.contains(form));
        telling.push(best);
    }
    // Nor what others chosen later have in full.
    for index in (0..telling.len()).rev() {
        let in_another = |form| {
            let others = telling.iter().enumerate().filter(|(other, _)| *other != index);
            others.clone().any(|(_, text): (_, &Text)| text.forms.contains(form))
        };
        if telling[index].forms.iter().all(in_another) {
            telling.remove(index);
        }
    }
    telling
}

/// Compiles each of the texts for each of the targets.
fn compile(texts: &[Text], targets: &[&str]) {
    let folders = folders();
    let toolchain = Toolchain::at(&folders.data).unwrap();
    let cache = VmfbCache::new(folders.cache.clone());
    let targets: Vec<Target> = targets.iter().map(|name| name.parse().unwrap()).collect();
    let cases: Vec<(&Text, &Target)> =
        texts.iter().flat_map(|text| targets.iter().map(move |target| (text, target))).collect();
    for_each(
        &cases,
        |(text, target)| format!("{} for {target}", text.name),
        |(text, target)| {
            let compiled = cache.compile(&toolchain, &text.text, target);
            compiled.map(drop).map_err(|error| error.to_string())
        },
    );
}

fn texts() -> Vec<Text> {
    Case::all().iter().map(text).collect()
}

/// Without llvm-cpu, which the tests of fixtures compile and run all of them on.
#[test]
fn every_kind_of_text_compiles_for_every_target() {
    compile(&telling(texts()), &["vmvx", "cuda:sm_80", "vulkan-spirv", "rocm:gfx942"]);
}

#[test]
#[ignore = "ten minutes, where the test above takes two"]
fn every_fixture_compiles_for_every_target() {
    compile(&texts(), &["llvm-cpu", "vmvx", "cuda:sm_80", "vulkan-spirv", "rocm:gfx942"]);
}

#[test]
fn forms() {
    let line = "  %a.b_2 = stablehlo.add %c#1, %d : tensor<2x13xf32>";
    assert_eq!(form(line), "% = stablehlo.add %, % : tensor<#x#xf32>");
    let results = |n: usize| {
        let types = vec!["tensor<4xf32>"; n].join(", ");
        form(&format!("return {} : {types}", vec!["%a"; n].join(", ")))
    };
    assert_eq!(results(3), results(5));
    assert_eq!(form("dense<[-1.5, 2e-3, 0, 7]>"), form("dense<[1, 0, 0]>"));
    assert_ne!(form("dense<[1, 0]> : tensor<2xf32>"), form("dense<[1, 0]> : tensor<2xi32>"));
    let texts = |forms: &[&[&str]]| {
        let forms = forms.iter().map(|forms| forms.iter().map(|&form| form.to_owned()).collect());
        let text = |forms: BTreeSet<String>| {
            let text = forms.iter().cloned().collect();
            Text { name: String::new(), text, forms }
        };
        forms.map(text).collect::<Vec<_>>()
    };
    let few = |forms| telling(texts(forms)).into_iter().map(|text| text.text).collect::<Vec<_>>();
    assert_eq!(few(&[&["a"], &["b", "c"], &["a", "b", "c"], &["a", "d"]]), ["ad", "bc"]);
    // The first to be chosen is the one that is not needed.
    assert_eq!(few(&[&["a", "b"], &["a", "cc"], &["b", "dd"]]), ["acc", "bdd"]);
}
