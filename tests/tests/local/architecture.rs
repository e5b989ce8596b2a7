//! Every file and every name that `docs/architecture.md` speaks of is there.

use std::fs;
use std::path::{Path, PathBuf};

/// Where names are looked for.
const SOURCES: [&str; 3] = ["core/src", "bindings-python/src", "bindings-python/python"];

#[test]
fn all_that_the_map_shows_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let map = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    assert!(map.lines().count() < 150, "it was to be short");
    let mut sources = Vec::new();
    SOURCES.iter().for_each(|folder| read(&root.join(folder), &mut sources));
    let (mut paths, mut names) = (0, 0);
    let mut is_drawing = false;
    for line in map.lines() {
        is_drawing ^= line.starts_with("```");
        if is_drawing {
            continue;
        }
        let words: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        // What stands without a folder is in the one that the line is about.
        let about = words.first().map(|word| root.join(word)).unwrap_or_default();
        for word in &words {
            if word.contains(' ') {
                continue;
            } else if word.contains('/') || word.ends_with(".rs") {
                let is_there = root.join(word).exists() || about.join(word).exists();
                assert!(is_there, "{word} is spoken of, and there is no such file");
                paths += 1;
            } else {
                assert!(is_defined(word, &sources), "{word} is spoken of, and nothing is so named");
                names += 1;
            }
        }
    }
    assert!(paths > 60 && names > 20, "only {paths} paths and {names} names were found");
}

/// The text of all files below.
fn read(folder: &PathBuf, sources: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, sources);
        } else if let Ok(text) = fs::read_to_string(&path) {
            sources.push(text);
        }
    }
}

/// A type, a function, or a function in a file that speaks of its type.
fn is_defined(word: &str, sources: &[String]) -> bool {
    let (owner, name) = word.split_once("::").or(word.split_once('.')).unwrap_or(("", word));
    let keywords = match name.starts_with(char::is_uppercase) {
        true => ["struct ", "enum ", "trait ", "class "],
        false => ["fn ", "function ", "def ", "async def "],
    };
    let definitions = keywords.map(|keyword| format!("{keyword}{name}"));
    sources.iter().filter(|source| source.contains(owner)).any(|source| {
        definitions.iter().any(|definition| {
            let mut ends = source.split(definition.as_str()).skip(1);
            ends.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    })
}
