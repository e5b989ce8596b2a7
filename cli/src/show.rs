//! How times, names and holders are written for people.

use std::time::Duration;

use leasehold::Holder;

/// Whole seconds, or milliseconds below one.
pub(crate) fn span(span: Duration) -> String {
    let rough = match span.as_secs() {
        0 => Duration::from_millis(span.subsec_millis().into()),
        secs => Duration::from_secs(secs),
    };
    humantime::format_duration(rough).to_string()
}

/// What others chose, made harmless for a terminal.
pub(crate) fn text(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// "held by LABEL for 3s"
pub(crate) fn held_by(holder: &Holder) -> String {
    format!("held by {} for {}", text(&holder.label), span(holder.held_for))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (time, short) in [(0, "0s"), (7, "7ms"), (1999, "1s"), (90_500, "1m 30s")] {
            assert_eq!(span(Duration::from_millis(time)), short);
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(text("a\x1b[2Jb\n🔒"), "a\\u{1b}[2Jb\\n🔒");
    }
}
