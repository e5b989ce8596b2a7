//! What versions of etcd promise less than others.

/// What is to be known of this version; nothing of one that cannot be read.
pub(super) fn caveats(version: &str) -> Vec<String> {
    let mut numbers = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor), Some(patch)) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return Vec::new();
    };
    let is_before = |fixed: &[(u32, u32, u32)]| {
        let same_line = fixed.iter().find(|at| (at.0, at.1) == (major, minor));
        match same_line {
            Some(at) => patch < at.2,
            // Lines older than the oldest that was mended, and none that are newer.
            None => fixed.first().is_some_and(|oldest| (major, minor) < (oldest.0, oldest.1)),
        }
    };
    let mut caveats = Vec::new();
    if is_before(&[(3, 4, 32), (3, 5, 14)]) {
        caveats.push(format!(
            "etcd {version} may go back in its revisions when it crashes during a compaction, and \
             fences with them; 3.4.32 and 3.5.14 do not"
        ));
    }
    if is_before(&[(3, 4, 38), (3, 5, 23), (3, 6, 5)]) {
        caveats.push(format!(
            "etcd {version} may say that a lease was kept alive which it has just revoked, so \
             that two may hold a lock until the next renewal; 3.4.38, 3.5.23 and 3.6.5 do not"
        ));
    }
    caveats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_its_caveats() {
        for (version, number) in [
            ("3.3.27", 2),
            ("3.4.23", 2),
            ("3.4.32", 1),
            ("3.4.38", 0),
            ("3.5.13", 2),
            ("3.5.16", 1),
            ("3.5.30", 0),
            ("3.6.4", 1),
            ("3.6.5", 0),
            ("3.7.0-rc.1", 0),
            ("4.0.0", 0),
            ("unknown", 0),
        ] {
            assert_eq!(caveats(version).len(), number, "{version}");
        }
    }
}
