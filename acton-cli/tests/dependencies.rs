//! What acton depends on is what deny.toml allows: licences, one version of each crate, one registry.
//! And the workspace's version is one.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};
use toml::Table;

/// A crate, as cargo knows it.
struct Package {
    name: String,
    version: String,
    license: String,
    /// Empty for those of the workspace.
    source: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> Table {
    fs::read_to_string(workspace().join(file)).unwrap().parse().unwrap()
}

/// All crates that are built here or for a test here.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace())
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", env!("ACTON_BUILD_TARGET")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let used: BTreeSet<_> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| text(&node["id"]))
        .collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages = packages.filter(|package| used.contains(&text(&package["id"])));
    packages
        .map(|package| Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            license: text(&package["license"]),
            source: text(&package["source"]),
        })
        .collect()
}

#[test]
fn licences_are_those_that_are_allowed() {
    let deny = read("deny.toml");
    let allowed = deny["licenses"]["allow"].as_array().unwrap();
    let allowed: BTreeSet<_> = allowed.iter().map(|id| id.as_str().unwrap()).collect();
    let mut needed = BTreeSet::new();
    for Package { name, version, license, .. } in packages() {
        // An older way to write OR.
        let expression = Expression::parse_mode(&license, ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{name} {version}: licence '{license}': {error}"));
        let is_allowed = expression.evaluate(|requirement| {
            let id = requirement.license.id().map(|id| id.name);
            let found =
                id.and_then(|id| allowed.get(id)).filter(|_| requirement.addition.is_none());
            needed.extend(found.copied());
            found.is_some()
        });
        assert!(
            is_allowed,
            "{name} {version} is under '{license}', which deny.toml does not allow: do without it, or \
             see whether acton may be shipped with that, and add it"
        );
    }
    assert_eq!(needed, allowed, "deny.toml allows licences that no crate has");
}

#[test]
fn crates_come_from_one_registry_in_one_version() {
    let deny = read("deny.toml");
    let skipped = deny["bans"]["skip"].as_array().unwrap();
    let mut skipped: BTreeSet<_> =
        skipped.iter().map(|skip| skip["crate"].as_str().unwrap().to_owned()).collect();
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for Package { name, version, source, .. } in packages() {
        assert!(source.is_empty() || source.starts_with("registry+"), "{name} is of {source}");
        versions.entry(name).or_default().push(version);
    }
    for (name, mut versions) in versions {
        if versions.len() == 1 {
            continue;
        }
        versions.retain(|version| {
            let is_of = |skip: &String| {
                let (skipped, prefix) = skip.split_once('@').unwrap();
                skipped == name
                    && version.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
            };
            let skip = skipped.iter().find(|skip| is_of(skip)).cloned();
            !skip.is_some_and(|skip| skipped.remove(&skip))
        });
        assert!(
            versions.len() < 2,
            "{name} is there in several versions, {versions:?}: `cargo tree -i {name}@VERSION` says for \
             whom; move to one, or add a reason to deny.toml"
        );
    }
    assert!(skipped.is_empty(), "deny.toml skips what is not there twice: {skipped:?}");
}

#[test]
fn the_workspace_has_one_version() {
    let manifest = read("Cargo.toml");
    let workspace = &manifest["workspace"];
    let version = &workspace["package"]["version"];
    for (name, dependency) in workspace["dependencies"].as_table().unwrap() {
        let own = dependency.get("path").and_then(|_| dependency.get("version"));
        assert!(own.is_none_or(|own| own == version), "[workspace.dependencies]: {name}");
    }
    let changes = fs::read_to_string(self::workspace().join("CHANGELOG.md")).unwrap();
    let newest = changes.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    assert_eq!(newest.split(',').next(), version.as_str(), "CHANGELOG.md");
}

/// The fuzzers are a workspace of their own, which nothing here builds.
#[test]
fn the_lock_file_of_the_fuzzers_has_what_our_crates_depend_on() {
    let lock = read("fuzz/Cargo.lock");
    let mut looked_at = 0;
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let manifest = workspace().join(name).join("Cargo.toml");
        if package.get("source").is_some() || !manifest.exists() {
            continue;
        }
        looked_at += 1;
        let manifest = read(manifest.to_str().unwrap());
        let locked = package.get("dependencies").and_then(|it| it.as_array());
        let locked: BTreeSet<_> =
            locked.into_iter().flatten().filter_map(|it| it.as_str()?.split(' ').next()).collect();
        let wanted = manifest.get("dependencies").and_then(|it| it.as_table());
        for (dependency, how) in wanted.into_iter().flatten() {
            let is_optional = how.get("optional").is_some_and(|it| it.as_bool() == Some(true));
            assert!(
                is_optional || locked.contains(dependency.as_str()),
                "fuzz/Cargo.lock does not know that {name} depends on {dependency}: \
                 `cargo update -w` in fuzz/ mends it"
            );
        }
    }
    assert!(looked_at > 5, "{looked_at} crates");
}
