//! Bugs as switches: all of them are in one build, and a variable of the environment says
//! which one is awake. So the core is built once, and not once for each bug.

use super::bugs::Bug;
use crate::Failure;

/// Names the bug that is awake.
pub(super) const AWAKE: &str = "LEASEHOLD_PLANTED";

/// Where all scripts pass by, as text: the file, the line, and what they are called there.
pub(super) const SCRIPTS: [Scripts; 7] = [
    Scripts {
        file: "core/src/backend/redis/scripts.rs",
        line: "    fn new(script: &str) -> Self {\n",
        name: "script",
    },
    Scripts {
        file: "tests/tests/redlock/scripts.rs",
        line: "    fn run(&self, body: &str, keys: &[&str], arguments: &[&str]) -> Reply {\n",
        name: "body",
    },
    Scripts {
        file: "tests/tests/redis/refusals.rs",
        line: "fn claim_by(script: &str, server: &Server) -> Reply {\n",
        name: "script",
    },
    Scripts {
        file: "core/src/backend/mysql/table.rs",
        line: "fn statement(sql: &str, table: &str) -> String {\n",
        name: "sql",
    },
    Scripts {
        file: "tests/tests/mysql/dialect.rs",
        line: "fn statement(sql: &str) -> String {\n",
        name: "sql",
    },
    Scripts {
        file: "core/src/backend/postgres/table.rs",
        line: "fn statement(sql: &str, table: &str) -> String {\n",
        name: "sql",
    },
    Scripts {
        file: "tests/tests/postgres/dialect.rs",
        line: "fn statement(sql: &str) -> String {\n",
        name: "sql",
    },
];

pub(super) struct Scripts {
    pub(super) file: &'static str,
    line: &'static str,
    name: &'static str,
}

/// A Rust file with these bugs asleep in it: each function that has some has a body for each.
pub(super) fn plant(source: &str, bugs: &[&Bug]) -> Result<String, Failure> {
    let mut bodies: Vec<(Body, Vec<&Bug>)> = Vec::new();
    for bug in bugs {
        let body = Body::around(source, only(source, bug)?, bug.healthy.len())
            .ok_or_else(|| outdated(bug, "it must stand in one function"))?;
        match bodies.iter_mut().find(|(other, _)| *other == body) {
            Some((_, there)) => there.push(bug),
            None => bodies.push((body, vec![bug])),
        }
    }
    // From the end, so that what is still to be replaced stays where it is.
    bodies.sort_by_key(|(body, _)| std::cmp::Reverse(body.start));
    let mut planted = source.to_owned();
    for (Body { start, end }, bugs) in bodies {
        let healthy = &source[start..end];
        let broken = |bug: &Bug| healthy.replace(bug.healthy, bug.broken);
        let each = bugs.iter().map(|bug| format!("if {} {{{}}} else ", is_awake(bug), broken(bug)));
        planted.replace_range(start..end, &format!("{}{{{healthy}}}", each.collect::<String>()));
    }
    Ok(planted)
}

impl Scripts {
    /// The file where they pass by, with these bugs of scripts asleep in it.
    pub(super) fn plant(&self, source: &str, bugs: &[&Bug]) -> Result<String, Failure> {
        let Self { file, line, name } = self;
        if source.matches(line).count() != 1 {
            return Err(format!("{file} no longer has {line:?}; bring xtask up to date"));
        }
        let each = bugs.iter().map(|bug| {
            let (healthy, broken) = (bug.healthy, bug.broken);
            let replaced = format!("planted.replace({healthy:?}, {broken:?})");
            format!("let planted = if {} {{ {replaced} }} else {{ planted }};\n", is_awake(bug))
        });
        let each = each.collect::<String>();
        let planted = format!(
            "{line}let planted = {name}.to_owned();\n{each}let {name} = planted.as_str();\n"
        );
        Ok(source.replace(line, &planted))
    }
}

/// Where the bug's healthy code stands.
pub(super) fn only(source: &str, bug: &Bug) -> Result<usize, Failure> {
    let mut places = source.match_indices(bug.healthy);
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(place),
        _ => Err(outdated(bug, "its healthy code must stand exactly once")),
    }
}

fn outdated(bug: &Bug, what: &str) -> Failure {
    format!("cannot plant {:?} in {}: {what}; bring xtask up to date", bug.name, bug.file)
}

/// An expression: true while this bug is the one.
fn is_awake(bug: &Bug) -> String {
    format!(
        "{{ static AWAKE: ::std::sync::LazyLock<bool> = ::std::sync::LazyLock::new(|| \
         ::std::env::var({AWAKE:?}).is_ok_and(|bug| bug == {:?})); *AWAKE }}",
        bug.name
    )
}

/// What stands between the braces of a function, as rustfmt writes it.
#[derive(PartialEq, Eq)]
struct Body {
    start: usize,
    end: usize,
}

impl Body {
    /// Of the innermost function around these bytes.
    fn around(source: &str, place: usize, length: usize) -> Option<Self> {
        let mut above = place;
        loop {
            let line = source[..above].rfind('\n')?;
            let head = source[..line].rfind('\n').map_or(0, |end| end + 1);
            if let Some(body) = Self::of(source, head)
                && body.start <= place
                && place + length <= body.end
            {
                return Some(body);
            }
            above = line;
        }
    }

    /// Of the function whose first line begins here, if one does.
    fn of(source: &str, head: usize) -> Option<Self> {
        let text = &source[head..];
        let indent = text.len() - text.trim_start_matches(' ').len();
        let words = text.lines().next()?.split([' ', '(', '<']);
        let is_function = words.take_while(|word| !word.starts_with('"')).any(|word| word == "fn");
        if !is_function || text.trim_start().starts_with("//") {
            return None;
        }
        let mut end = head;
        let mut start = None;
        for line in text.split_inclusive('\n') {
            end += line.len();
            let bare = line.trim_end();
            if start.is_none() && bare.ends_with('{') {
                start = Some(end);
            } else if bare.len() == indent + 1 && bare.ends_with('}') {
                return Some(Self { start: start?, end: end - line.len() });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
/// Says fn like others do.
impl Lock {
    async fn take<T>(
        &self,
        by: T,
    ) -> Result<(), T>
    where
        T: Name,
    {
        let now = self.now();
        if now > self.end {
            self.give(by);
        }
    }

    fn give(&self) {
        self.ring();
    }
}
";

    fn bug(healthy: &'static str, broken: &'static str) -> Bug {
        Bug { name: "late", file: "lock.rs", healthy, broken }
    }

    #[test]
    fn a_function_has_a_body_for_each_bug() {
        let (late, deaf) = (bug("now > self.end", "true"), bug("let now = self.now();", ""));
        let silent = bug("        self.ring();\n", "");
        let planted = plant(SOURCE, &[&late, &silent, &deaf]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(planted.matches("self.give(by);").count(), 3);
        assert_eq!(planted.matches("if true {").count(), 1);
        assert_eq!(planted.matches("self.ring();").count(), 1);
        assert_eq!(planted.matches("bug == \"late\"").count(), 3);
        assert!(planted.contains("T: Name,\n    {\nif {"));
        assert!(planted.ends_with("else {        self.ring();\n}    }\n}\n"), "{planted}");
    }

    #[test]
    fn a_bug_that_has_no_single_place_in_a_function_is_refused() {
        for healthy in ["self.", "self.wring()", "impl Lock", "}\n\n    fn give(&self) {\n"] {
            assert!(plant(SOURCE, &[&bug(healthy, "")]).is_err(), "{healthy}");
        }
    }
}
