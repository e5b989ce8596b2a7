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
    let escape = |c: char| match c.is_control() || is_unseen(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// What has no width, or turns the direction of what follows: two names could look alike,
/// or a line say what it does not.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// "held by LABEL for 3s", "resting for another 3s, last held by LABEL", or "held by LABEL for 3s and 2 others"; nothing if nobody does.
pub(crate) fn held_by(holders: &[Holder]) -> Option<String> {
    let first = holders.first()?;
    if first.resting {
        let (free_in, label) = (span(first.free_in), text(&first.label));
        return Some(format!("resting for another {free_in}, last held by {label}"));
    }
    let others = match holders.len() - 1 {
        0 => String::new(),
        1 => " and another".to_owned(),
        others => format!(" and {others} others"),
    };
    Some(format!("held by {} for {}{others}", text(&first.label), span(first.held_for)))
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
        assert_eq!(text("a\x1b[2Jb\n🔒"), "a\\u{1b}[2Jb\\u{a}🔒");
    }

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(text("a\u{202e}b\u{200b}\u{feff}"), "a\\u{202e}b\\u{200b}\\u{feff}");
    }
}
