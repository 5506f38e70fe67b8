//! The import arrows of DESIGN.md section 2, held against the manifests and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate → crates of ours that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("tidegate-common", &[]),
    ("tidegate-segment", &["tidegate-common"]),
    ("tidegate-wal", &["tidegate-common", "tidegate-segment"]),
    ("tidegate-s3stream", &["tidegate-common", "tidegate-wal"]),
    ("tidegate-metadata", &["tidegate-common", "tidegate-segment"]),
    ("tidegate-wire", &["tidegate-common"]),
    ("tidegate-groups", &[]),
    (
        "tidegate-broker",
        &[
            "tidegate-common",
            "tidegate-segment",
            "tidegate-wal",
            "tidegate-s3stream",
            "tidegate-metadata",
            "tidegate-wire",
            "tidegate-groups",
        ],
    ),
];

/// Libraries that one crate alone may name: one place knows the Raft library, one the object store client.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("openraft", &["tidegate-metadata"]),
    ("kafka-protocol", &["tidegate-wire", "tidegate-broker", "tidegate-tests", "tidegate-benches"]),
    ("object_store", &["tidegate-s3stream", "tidegate-tests"]),
    ("moka", &["tidegate-s3stream"]),
    ("axum", &["tidegate-broker"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Crate name → names under `[dependencies]`.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let dirs = [
        "broker",
        "broker/groups",
        "broker/wire",
        "metadata",
        "metadata/common",
        "s3stream",
        "wal",
        "wal/segment",
        "tests",
        "benches",
    ];
    dirs.iter().map(|dir| read_manifest(&root().join(dir).join("Cargo.toml"))).collect()
}

fn read_manifest(path: &Path) -> (String, BTreeSet<String>) {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut section, mut name, mut dependencies) = (String::new(), String::new(), BTreeSet::new());
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.to_owned();
            continue;
        }
        let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if section == "[package]" && key == "name" {
            name = line.split('"').nth(1).unwrap_or_default().to_owned();
        }
        if section == "[dependencies]" && !key.is_empty() && !key.starts_with('#') {
            dependencies.insert(key.to_owned());
        }
    }
    assert!(!name.is_empty(), "{}: no package name", path.display());
    (name, dependencies)
}

#[test]
fn imports_point_one_way() {
    let manifests = manifests();
    for (name, allowed) in ARROWS {
        let dependencies = manifests.get(*name).unwrap_or_else(|| panic!("no crate {name}"));
        let ours = dependencies.iter().filter(|d| d.starts_with("tidegate-"));
        for dependency in ours {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not import {dependency}");
        }
    }
}

#[test]
fn each_library_is_known_in_one_place() {
    for (name, dependencies) in manifests() {
        for (library, places) in ONLY_IN {
            assert!(
                !dependencies.contains(*library) || places.contains(&name.as_str()),
                "{name} must not name {library}; only {places:?} may"
            );
        }
    }
}

#[test]
fn only_the_composition_chooses_the_real_seams() {
    let real = ["SystemClock", "ThreadRandom", "OsDisk"];
    let allowed =
        ["broker/src/runtime.rs", "broker/src/rim/", "broker/src/wal_tools.rs", "wal/segment/src/disk"];
    for dir in
        ["broker/groups/src", "broker/src", "metadata/src", "s3stream/src", "wal/src", "wal/segment/src"]
    {
        for file in sources(&root().join(dir)) {
            let relative = file.strip_prefix(root()).expect("below the root").display().to_string();
            if allowed.iter().any(|a| relative.starts_with(a))
                || relative.contains("test")
                || relative.contains("suite")
            {
                continue;
            }
            let text = fs::read_to_string(&file).expect("readable");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for name in real {
                assert!(!code.contains(name), "{relative} chooses {name}; seams are handed in");
            }
        }
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
    out
}
