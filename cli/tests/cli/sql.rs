//! `sql ddl`.

use crate::rig::Rig;
use leasehold_tests::servers::{MysqlSettings, PostgresSettings};

#[test]
fn ddl_prints_what_makes_the_table_without_a_server() {
    let rig = Rig::new();
    // Nobody listens there.
    let url = "postgres://ann@127.0.0.1:1/jobs?table=app.locks";
    let ended = rig.call(&["sql", "ddl", "--url", url]);
    assert_eq!((ended.code, &*ended.stderr), (0, ""));
    assert!(ended.stdout.starts_with("CREATE TABLE \"app\".\"locks\" ("), "{}", ended.stdout);
    assert!(ended.stdout.ends_with(";\n"), "{}", ended.stdout);
    let ended = rig.call(&["sql", "ddl", "--url", "mysql://ann@127.0.0.1:1/jobs"]);
    assert!(ended.stdout.starts_with("CREATE TABLE `jobs`.`leasehold` ("), "{}", ended.stdout);

    let ended = rig.call(&["sql", "ddl"]);
    assert_eq!((ended.code, &*ended.stdout), (78, ""));
    assert!(ended.stderr.contains("sqlite: has no table"), "{}", ended.stderr);
}

#[test]
fn a_user_who_may_not_make_the_table_uses_the_one_that_ddl_made() {
    let rig = Rig::new();
    let grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON";
    let server = PostgresSettings::default().start();
    server.sql("CREATE SCHEMA app; CREATE ROLE ann LOGIN; GRANT USAGE ON SCHEMA app TO ann");
    let url = format!("{}&table=app.locks", server.url_as("ann"));
    assert_eq!(rig.call(&["ls", "--url", &url]).code, 78);
    server.sql(&rig.call(&["sql", "ddl", "--url", &url]).stdout);
    server.sql(&format!("{grant} app.locks TO ann"));
    let ended = rig.run(&["x", "--url", &url], "true");
    assert_eq!(ended.code, 0, "{ended:?}");

    let server = MysqlSettings::default().start();
    server.sql("CREATE USER ann@'%'");
    let url = format!("{}&table=locks", server.url_as("ann"));
    server.sql(&rig.call(&["sql", "ddl", "--url", &url]).stdout);
    server.sql(&format!("{grant} jobs.locks TO ann@'%'"));
    let ended = rig.run(&["x", "--url", &url], "true");
    assert_eq!(ended.code, 0, "{ended:?}");
}
