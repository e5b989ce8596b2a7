//! Statements as text. No server keeps anything of them, so whoever is between may hand each to
//! another session.

use std::fmt::Write;

use crate::name::Owner;

/// What a statement is given, by name, as SQL writes it.
pub(super) type Values<'a> = &'a [(&'a str, String)];

pub(super) const NULL: &str = "NULL";

/// Bytes. So nothing in them is ever taken for more than a value, whatever the mode and the
/// character set of the session are.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2 + 3);
    hex.push_str("x'");
    for byte in bytes {
        // A String takes everything.
        let _ = write!(hex, "{byte:02x}");
    }
    hex.push('\'');
    hex
}

pub(super) fn text(text: &str) -> String {
    format!("_utf8mb4 {}", bytes(text.as_bytes()))
}

pub(super) fn owner(owner: Owner) -> String {
    format!("'{owner}'")
}

/// What is there, or nothing.
pub(super) fn maybe<T>(value: Option<T>, write: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NULL.to_owned(), write)
}

pub(super) fn list(values: impl IntoIterator<Item = String>) -> String {
    values.into_iter().collect::<Vec<_>>().join(", ")
}

/// Put the values in the places that have their names: `$name`. They are not looked at again.
pub(super) fn fill(sql: &str, values: Values<'_>) -> String {
    let mut filled = String::with_capacity(sql.len() * 2);
    let mut parts = sql.split('$');
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled.push_str(value),
            // Somebody may fill it later.
            None => {
                filled.push('$');
                filled.push_str(name);
            }
        }
        filled.push_str(rest);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_once_and_cannot_break_out() {
        let values = [("a", bytes(b"'; --")), ("b", "$a".to_owned()), ("ab", NULL.to_owned())];
        assert_eq!(fill("$a,$b,$ab,$c", &values), "x'273b202d2d',$a,NULL,$c");
        assert_eq!(text("é$"), "_utf8mb4 x'c3a924'");
        assert_eq!(bytes(b""), "x''");
    }
}
