//! The rig itself: servers that do as real ones, faults that happen.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use leasehold_tests::patience::{now, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Connection, Flavor, Server, Settings};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_restart_keeps_what_is_on_disk() {
    for flavor in [Flavor::Redis, Flavor::Valkey] {
        let server = Settings::default().flavor(flavor).appendonly().start();
        let (port, pid) = (server.port(), server.pid());
        server.command(&["SET", "k", "v"]);
        server.kill();
        assert!(server.try_command(&["PING"], SHORT).is_err(), "it is dead");
        server.restart();
        assert_eq!(server.command(&["GET", "k"]), Reply::text("v"), "{flavor:?}");
        assert_eq!(server.port(), port);
        assert_ne!(server.pid(), pid);
        // Without a kill before it.
        server.restart();
        assert_eq!(server.keys(), ["k"]);
        server.restart_empty();
        assert_eq!(server.command(&["GET", "k"]), Reply::Nil);
    }
}

#[test]
fn a_flavor_is_what_it_says() {
    for flavor in [Flavor::Redis, Flavor::Valkey] {
        let info = Settings::default().flavor(flavor).start().info("server");
        assert_eq!(info.contains("valkey_version:"), flavor == Flavor::Valkey, "{info}");
    }
}

#[test]
fn a_restart_of_a_server_in_memory_forgets() {
    let server = Server::start();
    server.command(&["SET", "k", "v"]);
    server.restart();
    assert_eq!(server.keys(), [""; 0]);
}

#[test]
fn a_frozen_server_does_nothing_until_it_is_thawed() {
    let server = Server::start();
    let mut client = Connection::open(server.port()).unwrap();
    assert_eq!(client.ask(&["INCR", "n"]).unwrap(), Reply::Int(1));
    server.freeze();
    client.send(&["INCR", "n"]).unwrap();
    assert_eq!(client.receive_limited(SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
    let late = server.try_command(&["PING"], SHORT);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
    server.thaw();
    assert_eq!(client.receive().unwrap(), Reply::Int(2));
}

#[test]
fn what_waits_in_a_frozen_server_dies_with_it() {
    let server = Settings::default().appendonly().start();
    let mut client = Connection::open(server.port()).unwrap();
    assert_eq!(client.ask(&["INCR", "n"]).unwrap(), Reply::Int(1));
    server.freeze();
    client.send(&["INCR", "n"]).unwrap();
    server.kill();
    server.restart();
    assert_eq!(server.command(&["GET", "n"]), Reply::text("1"));
}

#[test]
fn a_shifted_clock_ends_keys_early_and_late() {
    for flavor in [Flavor::Redis, Flavor::Valkey] {
        let server = Settings::default().flavor(flavor).shifted_clock().start();
        server.command(&["SET", "k", "v", "PX", "60000"]);
        server.shift_clock(30.5);
        let left = server.command(&["PTTL", "k"]).as_int().unwrap();
        assert!((1..=29_500).contains(&left), "{flavor:?}: {left} ms");
        server.shift_clock(-60.75);
        let left = server.command(&["PTTL", "k"]).as_int().unwrap();
        assert!((60_001..=90_250).contains(&left), "{flavor:?}: {left} ms");
        server.shift_clock(95.0);
        assert_eq!(server.command(&["GET", "k"]), Reply::Nil, "{flavor:?}");
    }
}

#[test]
fn a_server_with_a_password_asks_for_it() {
    let alice = "user alice on >secret ~a:* &* +@all";
    let server = Settings::default().password("open-sesame").acl(alice).start();
    let mut client = Connection::open(server.port()).unwrap();
    assert!(client.ask(&["GET", "k"]).unwrap().is_error());
    assert!(client.ask(&["AUTH", "wrong"]).unwrap().is_error());
    assert_eq!(client.ask(&["AUTH", "open-sesame"]).unwrap(), Reply::status("OK"));
    assert_eq!(client.ask(&["GET", "k"]).unwrap(), Reply::Nil);
    assert_eq!(client.ask(&["AUTH", "alice", "secret"]).unwrap(), Reply::status("OK"));
    assert!(client.ask(&["GET", "k"]).unwrap().is_error());
    assert_eq!(client.ask(&["GET", "a:k"]).unwrap(), Reply::Nil);
    assert_eq!(server.command(&["PING"]), Reply::status("PONG"), "the rig is let in");
}

#[test]
fn a_server_listens_on_a_unix_socket() {
    let server = Settings::default().unix_socket().start();
    let mut socket = UnixStream::connect(server.unix_path()).unwrap();
    socket.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_server_listens_for_tls() {
    let server = Settings::default().tls().start();
    let other = Settings::default().tls().start();
    assert!(server.tls_url().starts_with("rediss://localhost:"));
    let ask = |authority: &Server, name: &str| {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", name])
            .args(["-connect", &format!("127.0.0.1:{}", server.tls_port())])
            .arg("-CAfile")
            .arg(authority.ca_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It may have ended already, where it does not trust the server.
        drop(openssl.stdin.take().unwrap().write_all(b"PING\r\nQUIT\r\n"));
        String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap()
    };
    assert_eq!(ask(&server, "localhost"), "+PONG\r\n+OK\r\n");
    assert_eq!(ask(&server, "elsewhere"), "");
    assert_eq!(ask(&other, "localhost"), "");
}

#[test]
fn calls_are_those_of_clients() {
    let server = Server::start();
    assert_eq!(server.calls(), 0);
    let mut client = Connection::open(server.port()).unwrap();
    client.ask(&["SET", "k", "v"]).unwrap();
    client.ask(&["GET", "k"]).unwrap();
    client.ask(&["CONFIG", "GET", "port"]).unwrap();
    client.ask(&["EVAL", "return redis.call('GET', 'k')", "0"]).unwrap();
    server.command(&["GET", "k"]);
    server.command(&["CONFIG", "GET", "port"]);
    let calls = server.calls_by_command();
    let expected = [("config|get", 1), ("eval", 1), ("get", 2), ("set", 1)];
    assert_eq!(calls, expected.map(|(name, calls)| (name.to_owned(), calls)).into());
    assert_eq!(server.calls(), 5);
}

#[test]
fn processor_time_is_what_the_server_uses() {
    let server = Server::start();
    let before = server.cpu();
    let script = "local t = 0 for i = 1, 20000000 do t = t + i end return 1";
    let started = now();
    server.command(&["EVAL", script, "0"]);
    let (used, took) = (server.cpu() - before, started.elapsed());
    assert!(used > Duration::from_millis(20), "{used:?}");
    assert!(used <= took + Duration::from_millis(20), "{used:?} in {took:?}");
}

#[test]
fn a_server_ends_with_the_run_that_started_it() {
    // This test again, as a run that is killed in the middle.
    const ME: &str = "redis::a_server_ends_with_the_run_that_started_it";
    if std::env::var_os("RIG_IS_KILLED").is_some() {
        let server = std::thread::spawn(Server::start).join().unwrap();
        // It outlives the thread that asked for it.
        server.command(&["PING"]);
        println!("\nserver {}", server.pid());
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
    }
    // What it cannot remove goes with this.
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([ME, "--exact", "--nocapture"])
        .env("RIG_IS_KILLED", "1")
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let pid = said.lines().find_map(|line| line.strip_prefix("server ")).expect("it started");
    let gone = || (!is_alive(pid)).then_some(());
    until(Duration::from_secs(20), gone).expect("the server ended");
}

/// Whether a process runs; one that waits to be collected does not.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
