//! Rules whose tests are in the file of tests `backends`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "a second name of the file is let in",
        "sqlite_world::a_second_name_of_the_file_is_refused_and_a_symbolic_link_is_no_second_name",
        "backend/sqlite/disk.rs",
        "found.nlink() > 1",
        "found.nlink() > 9",
    ),
    rule(
        "a file that is mounted alone is let in",
        "sqlite_world::a_database_that_is_mounted_without_its_directory_is_refused",
        "backend/sqlite/disk.rs",
        "here.is_some() && there.is_some() && here != there",
        "here.is_some() && there.is_none() && here != there",
    ),
    rule(
        "a part that was replaced is not noticed",
        "sqlite_world::a_holder_finds_at_its_next_renewal_that_a_part_is_gone",
        "backend/sqlite/world.rs",
        "            let Ok(found) = std::fs::symlink_metadata(path) else { return false };",
        "            let Ok(found) = std::fs::symlink_metadata(path) else { return true };",
    ),
    rule(
        "the directory beneath an overlay is let in",
        "sqlite_world::the_upper_directory_of_an_overlay_is_not_the_overlay",
        "backend/sqlite/world.rs",
        "there.is_empty() || !is_same(\"boot\") || is_same(\"disk\")",
        "there.is_empty() || !is_same(\"boot\") || !is_same(\"disk\") || is_same(\"disk\")",
    ),
    rule(
        "another boot id ends all leases while somebody answers",
        "sqlite_world::whoever_sees_another_boot_id_is_refused_and_ends_no_lease_while_anybody_answers",
        "backend/sqlite/world.rs",
        "    if bells.anyone_answers()? {\n        return Err(occupied(",
        "    if bells.anyone_answers()? && known.is_none() {\n        return Err(occupied(",
    ),
    rule(
        "another time namespace is let in",
        "sqlite_world::whoever_counts_time_otherwise_is_refused",
        "backend/sqlite/world.rs",
        "Ok(boot) if !boot.is_empty() => Ok(Self { boot: boot.to_owned(), time }),",
        "Ok(boot) if !boot.is_empty() => Ok(Self { boot: boot.to_owned(), time: time.chars().take(0).collect() }),",
    ),
    rule(
        "the log of another database is taken over",
        "sqlite_world::the_log_of_another_database_is_not_taken_for_its_own",
        "backend/sqlite/world.rs",
        "    file::remove_log(path);\n",
        "",
    ),
    rule(
        "another user's socket is trusted",
        "sqlite_users::what_another_user_has_put_there_is_refused",
        "backend/sqlite/access.rs",
        "if known || by_group || self.mode & ALL_WRITE != 0 {",
        "if known || by_group || self.mode & ALL_WRITE != 0 || found.uid() > 0 {",
    ),
    rule(
        "a file's sockets take the umask",
        "sqlite_users::the_sockets_are_for_those_who_may_write_the_file",
        "backend/sqlite/access.rs",
        "        bits << 6 | group | all",
        "        bits << 6 | bits << 3 | bits | group | all",
    ),
    rule(
        "a key of another owner is a grant in etcd",
        "etcd_liar::what_a_cluster_says_is_not_believed_because_it_says_it",
        "backend/etcd/proof.rs",
        "entry.key == key && note::is_of(&entry.value, owner)",
        "entry.key == key && (note::is_of(&entry.value, owner) || !entry.value.is_empty())",
    ),
    rule(
        "a grant in etcd need not be of this request",
        "etcd_liar::what_a_cluster_says_is_not_believed_because_it_says_it",
        "backend/etcd/claim.rs",
        "Some(entry) if (entry.created, entry.session) == (done.revision, Some(home.id)) => {",
        "Some(entry) if entry.created > 0 => {",
    ),
    rule(
        "a release in etcd need not have deleted the key",
        "etcd_liar::what_a_cluster_says_is_not_believed_because_it_says_it",
        "backend/etcd/release.rs",
        "e.created == held.fence && is_of(e, &key, held.owner);",
        "e.created > 0;",
    ),
    rule(
        "a line in etcd is read once",
        "etcd_liar::what_a_cluster_says_is_not_believed_because_it_says_it",
        "backend/etcd/claim.rs",
        "(None, Some(first), Some(at)) if first == ours => Ok(Some(Stands::First(at))),",
        "(None, _, Some(at)) => Ok(Some(Stands::First(at))),",
    ),
    rule(
        "nothing is looked at in an answer of etcd",
        "etcd_liar::what_a_cluster_says_is_not_believed_because_it_says_it",
        "backend/etcd/history.rs",
        "proof::check(txn, &done).inspect_err(|e| self.cluster.distrust(&e.to_string()))?;",
        "drop(proof::check(txn, &done).inspect_err(|e| self.cluster.distrust(&e.to_string())));",
    ),
    rule(
        "a claim in etcd that its own release overtook is forgotten",
        "etcd_cluster::a_claim_that_its_own_release_has_overtaken_is_undone",
        "backend/etcd/release.rs",
        "self.clean_up(held.owner, &held.name, is_last)",
        "self.clean_up(held.owner, &held.name, is_last || true)",
    ),
    rule(
        "who stands before is watched too late",
        "etcd_cluster::a_holder_that_leaves_before_it_is_watched_is_not_missed",
        "backend/etcd/mod.rs",
        "self.cluster.watch(&key, Change::Deleted, after);",
        "self.cluster.watch(&key, Change::Deleted, after * 0);",
    ),
];
