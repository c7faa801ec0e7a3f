//! `mutate COPY LIST DROPPED ENGINE FILE…`: writes the files of the crate at `ENGINE` with faults into its copy at
//! `COPY`, and a list of the faults to `LIST`, one a line: id, file, line, function, first and last byte in the
//! mutated file, what. Ids named in the file `DROPPED` are left out: they do not compile.
//!
//! `run.py` beside it makes the copy, builds it, and runs the tests.

#![forbid(unsafe_code)]

mod faults;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [copy, list, dropped, engine, files @ ..] = &arguments[..] else {
        return Err("usage: mutate COPY LIST DROPPED ENGINE FILE…".into());
    };
    let dropped: BTreeSet<u32> =
        fs::read_to_string(dropped).unwrap_or_default().lines().filter_map(|line| line.trim().parse().ok()).collect();
    let (mut id, mut lines) = (0, String::new());
    for file in files {
        let source = fs::read_to_string(Path::new(engine).join(file))?;
        let found = faults::find(&source).map_err(|error| format!("{file}: {error}"))?;
        let mut chosen = Vec::new();
        for index in 0..found.len() {
            if !dropped.contains(&id) {
                chosen.push((index, id));
            }
            id += 1;
        }
        let mutated = faults::apply(&source, &found, &chosen);
        for (index, id) in chosen {
            let fault = &found[index];
            let place = mutated.places.iter().find(|(i, _)| *i == index).map(|(_, p)| p.clone()).unwrap_or_default();
            writeln!(
                lines,
                "{id}\t{file}\t{}\t{}\t{}\t{}\t{}",
                fault.line, fault.function, place.start, place.end, fault.what
            )?;
        }
        write(&Path::new(copy).join(file), &mutated.text)?;
    }
    let root = fs::read_to_string(Path::new(engine).join("src/lib.rs"))?;
    write(&Path::new(copy).join("src/lib.rs"), &format!("{root}\n/// The switch of the faults.\npub mod mutation;\n"))?;
    write(&Path::new(copy).join("src/mutation.rs"), include_str!("switch.rs"))?;
    fs::write(list, lines)?;
    Ok(())
}

/// Leaves a file alone that holds the text already: what is older than its build is not built again.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::read_to_string(path) {
        Ok(there) if there == text => Ok(()),
        Ok(_) | Err(_) => fs::write(path, text),
    }
}
