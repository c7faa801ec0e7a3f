//! `valid/*.toml` are read without complaint; `invalid/*.toml` are refused with what their `# expect:` lines say.
//!
//! `# set: K=V` lines are given as `--set`, `# env: K=V` lines are the environment.

use std::fs;
use std::path::{Path, PathBuf};

use baler_model::{Config, ConfigError, RawConfig};

fn samples(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new("tests/it").join(directory);
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).expect("samples are there").flatten().map(|entry| entry.path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn comments<'t>(text: &'t str, kind: &str) -> Vec<&'t str> {
    let start = format!("# {kind}: ");
    text.lines().filter_map(|line| line.strip_prefix(start.as_str())).collect()
}

pub(crate) fn load(text: &str) -> Result<Config, ConfigError> {
    let env = comments(text, "env");
    let lookup = |name: &str| {
        env.iter().filter_map(|entry| entry.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v.to_owned())
    };
    let sets: Vec<String> = comments(text, "set").into_iter().map(str::to_owned).collect();
    RawConfig::parse(text, "baler.toml", &lookup, &sets)?.validate("/etc/etl")
}

#[test]
fn valid_samples_are_taken() {
    for file in samples("valid") {
        if let Err(error) = load(&fs::read_to_string(&file).unwrap()) {
            panic!("{}:\n{error}", file.display());
        }
    }
}

#[test]
fn invalid_samples_are_refused_with_place_reason_and_hint() {
    let mut failures = String::new();
    for file in samples("invalid") {
        let text = fs::read_to_string(&file).unwrap();
        let expected = comments(&text, "expect");
        assert!(!expected.is_empty(), "{} expects nothing", file.display());
        match load(&text) {
            Ok(_) => failures += &format!("{} was taken\n\n", file.display()),
            Err(error) => {
                let shown = error.to_string();
                let missing: Vec<_> = expected.iter().filter(|line| !shown.contains(**line)).collect();
                if !missing.is_empty() {
                    failures += &format!("{}\nmissing: {missing:#?}\nshown:\n{shown}\n\n", file.display());
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}
