//! All inputs of `fuzz/corpus`: those that reach much of the code, and those that once broke it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use fuzz_targets::{TARGETS, Target};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// Runs every input of a target; how many came past the first door, and how many did not.
fn run(name: &str, target: Target) -> [usize; 2] {
    let directory = corpus().join(name);
    let mut counts = [0, 0];
    for entry in fs::read_dir(&directory).expect("a directory of inputs for each target") {
        let path = entry.expect("an entry of a directory").path();
        let data = fs::read(&path).expect("an input");
        // A panic in a run alone would not say which input it was.
        let Ok(passed) = thread::spawn(move || target(&data)).join() else {
            panic!("{name} fails with {}", path.display());
        };
        counts[usize::from(passed)] += 1;
    }
    counts
}

#[test]
fn every_input_keeps_the_promises() {
    thread::scope(|scope| {
        for &(name, target) in TARGETS {
            scope.spawn(move || {
                let [stopped, passed] = run(name, target);
                assert!(passed >= 1, "no input of {name} comes past the first door");
                assert!(stopped + passed >= 5, "hardly an input of {name}");
            });
        }
    });
}

#[test]
fn every_directory_has_its_target() {
    let names: BTreeSet<_> = TARGETS.iter().map(|&(name, _)| name.to_owned()).collect();
    let entries = fs::read_dir(corpus()).expect("the corpora");
    let found: BTreeSet<_> = entries
        .map(|entry| entry.expect("an entry of a directory").file_name().into_string())
        .map(|name| name.expect("a name in ASCII"))
        .collect();
    assert_eq!(found, names);
}

#[test]
fn every_target_has_its_fuzzer() {
    for (name, _) in TARGETS {
        let path = corpus().join(format!("../fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(&path).expect("a fuzzer of the target's name");
        assert!(text.contains(&format!("fuzz_targets::{name}(data)")), "{name}");
    }
}
