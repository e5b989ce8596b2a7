//! The files that tell what a lock does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use super::language::Pair;
use super::place::Backend;
use super::step::{ACTORS, Step};

/// What a lock does in one situation.
pub struct Scenario {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    /// Backends and languages that it is not for, with the reason. A language stands
    /// alone or, as in `a:rust`, with the only actor that matters.
    except: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    steps: Vec<Table>,
    #[serde(default)]
    except: BTreeMap<String, String>,
}

/// All scenarios of a directory, in order of file and line.
///
/// # Errors
/// What cannot be understood, with the file, the scenario and the step.
pub fn read_all(dir: &Path) -> Result<Vec<Scenario>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut scenarios = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "toml")) {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).map_err(|e| format!("{file}: {e}"))?;
        let content: File = toml::from_str(&text).map_err(|e| format!("{file}: {e}"))?;
        for table in content.scenario {
            scenarios.push(Scenario::read(&file, table).map_err(|e| format!("{file}: {e}"))?);
        }
    }
    Ok(scenarios)
}

impl Scenario {
    fn read(file: &str, table: Table) -> Result<Self, String> {
        let name = table.get("name").and_then(toml::Value::as_str).unwrap_or("no name").to_owned();
        let raw: Raw = table.try_into().map_err(|e| format!("{name}: {}", e.message()))?;
        let mut steps = Vec::new();
        for (number, table) in raw.steps.into_iter().enumerate() {
            let step = Step::read(table);
            steps.push(step.map_err(|e| format!("{name}, step {}: {e}", number + 1))?);
        }
        let scenario = Self { file: file.to_owned(), name: raw.name, steps, except: raw.except };
        match scenario.except.keys().find(|what| !is_known(what)) {
            Some(what) => Err(format!("{name}: it is not for {what:?}, which nobody knows")),
            None => Ok(scenario),
        }
    }

    /// Why it is not for this pair on this backend, if it is not.
    pub(super) fn reason_against(&self, pair: Pair, backend: Backend) -> Option<&str> {
        let languages = self.actors().flat_map(|actor| {
            let language = pair.of(actor).name();
            [language.to_owned(), format!("{actor}:{language}")]
        });
        let mut words = languages.chain([backend.name().to_owned()]);
        words.find_map(|word| self.except.get(&word)).map(String::as_str)
    }

    /// Who acts in it.
    pub(super) fn actors(&self) -> impl Iterator<Item = &'static str> {
        ACTORS.into_iter().filter(|actor| self.steps.iter().any(|step| step.object == *actor))
    }

    /// Whether somebody's way to the server is cut.
    pub(super) fn cuts(&self) -> bool {
        self.steps.iter().any(|step| step.verb == "cut")
    }

    /// Who comes to be by a fork of another.
    pub(super) fn is_child(&self, actor: &str) -> bool {
        self.steps.iter().any(|step| step.child.as_deref() == Some(actor))
    }
}

fn is_known(what: &str) -> bool {
    let language = what
        .split_once(':')
        .map_or(what, |(actor, language)| if ACTORS.contains(&actor) { language } else { "" });
    let is_language = super::language::NAMES.contains(&language);
    is_language || Backend::ALL.iter().any(|backend| backend.name() == what)
}
