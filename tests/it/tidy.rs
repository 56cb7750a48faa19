//! The shape of the code base: what no compiler checks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers, from the first to the last. A module imports only from layers before its own, and
/// from those that share it.
const LAYERS: [&[&str]; 13] = [
    &["time", "series", "limits", "reason", "trust", "varint", "histogram", "disk"],
    &["config"],
    &["protocol"],
    &["counters"],
    &["rollup"],
    &["store"],
    &["query"],
    &["chart"],
    &["rules"],
    &["notify"],
    &["engine"],
    &["faces"],
    &["daemon", "cli"],
];

/// What may lie in the root. Tool configuration lives in dotfiles.
const ROOT: [&str; 11] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "conf",
    "src",
    "target",
    "tests",
];

/// Licences that ask for nothing, or for a notice, or for changes to their own files only. 0BSD is
/// there for `quoted_printable`, without which lettre builds no mail; it asks for nothing at all.
const LICENCES: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
    "MPL-2.0",
    "0BSD",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("it is readable") {
        let path = entry.expect("it is readable").path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Every `crate::name` in the library's source, with the layer that the file belongs to.
fn imports() -> Vec<(String, String, PathBuf)> {
    let src = root().join("src");
    let mut files = Vec::new();
    files_below(&src, &mut files);
    let mut imports = Vec::new();
    for file in files {
        let inner = file.strip_prefix(&src).expect("it is below src");
        let layer = inner.components().next().expect("it has a name").as_os_str().to_string_lossy();
        let layer = layer.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&file).expect("it is UTF-8");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for rest in line.split("crate::").skip(1) {
                let name = rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next();
                let name = name.unwrap_or_default().to_owned();
                imports.push((layer.clone(), name, inner.to_owned()));
            }
        }
    }
    imports
}

#[test]
fn layers_import_only_from_the_ones_before_them() {
    let place = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let imports = imports();
    assert!(imports.len() > 50, "the imports were found at all: {}", imports.len());
    let mut wrong = Vec::new();
    for (layer, name, file) in imports {
        let Some(from) = place(&layer) else {
            assert!(
                ["main", "lib"].contains(&layer.as_str()),
                "{layer} is not in the list of layers"
            );
            continue;
        };
        match place(&name) {
            Some(to) if to <= from => {}
            Some(_) => wrong.push(format!("{}: {layer} imports {name}", file.display())),
            None => wrong.push(format!("{}: crate::{name} is no layer", file.display())),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_library_declares_its_layers_in_order() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).expect("it is there");
    let modules: Vec<_> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules, LAYERS.concat());
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    let mut files = Vec::new();
    for dir in ["src", "tests/it", "benches"] {
        files_below(&root().join(dir), &mut files);
    }
    let silent: Vec<_> = files
        .iter()
        .filter(|file| !std::fs::read_to_string(file).expect("it is UTF-8").starts_with("//! "))
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn the_root_holds_what_belongs_there() {
    let found: BTreeSet<_> = std::fs::read_dir(root())
        .expect("it is readable")
        .map(|entry| entry.expect("it is readable").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "data")
        .collect();
    let expect: BTreeSet<_> = ROOT.map(str::to_owned).into();
    let missing: Vec<_> = expect.difference(&found).filter(|name| *name != "target").collect();
    let stray: Vec<_> = found.difference(&expect).collect();
    assert!(missing.is_empty() && stray.is_empty(), "missing {missing:?}, stray {stray:?}");
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    // The packages of the graph for this platform; others are in the lock file, and not built.
    let used: BTreeSet<_> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("a graph")
        .iter()
        .map(|node| node["id"].as_str().expect("an id"))
        .collect();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        if !used.contains(package["id"].as_str().expect("an id")) {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default();
        checked += 1;
        if !is_allowed(licence) {
            wrong.push(format!("{name}: `{licence}`"));
        }
        for banned in ["openssl-sys", "aws-lc-rs", "aws-lc-sys"] {
            assert_ne!(name, banned, "one TLS library is enough");
        }
    }
    assert!(checked > 100, "the graph was read: {checked}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether an SPDX expression can be met with the allowed licences. The old `A/B` means `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at) && at == words.len()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut met = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at);
    }
    met
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied();
    *at += 1;
    if word == Some("(") {
        let met = any(words, at);
        *at += 1;
        return met;
    }
    let is_known = word.is_some_and(|word| LICENCES.contains(&word));
    if words.get(*at) == Some(&"WITH") {
        // An exception only ever adds permissions, but it has to be looked at before it is allowed.
        *at += 2;
        return false;
    }
    is_known
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    for good in
        ["MIT", "MIT/GPL-3.0", "(MIT OR Apache-2.0) AND Unicode-3.0", "GPL-2.0 OR ISC AND MIT"]
    {
        assert!(is_allowed(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND CDLA-Permissive-2.0",
        "Apache-2.0 WITH X",
    ] {
        assert!(!is_allowed(bad), "{bad}");
    }
}
