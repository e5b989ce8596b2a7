//! The proxy: each fault happens, and nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use leasehold_tests::patience::{LIMIT, now};
use leasehold_tests::proxy::{Fault, Gate, Proxy};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Connection, Server};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_millis(500);

/// A server, a proxy before it, and a client of the proxy.
fn linked() -> (Server, Proxy, Connection) {
    let server = Server::start();
    let proxy = Proxy::before(server.port());
    let client = Connection::open(proxy.port()).expect("the proxy listens");
    (server, proxy, client)
}

/// Of any `INCR`, in any case.
fn incr(command: &[Vec<u8>]) -> bool {
    command[0] == b"INCR"
}

/// What `n` counts now.
fn count(server: &Server) -> i64 {
    let reply = server.command(&["GET", "n"]);
    reply.as_str().map_or(0, |n| n.parse().expect("a number"))
}

/// Nothing comes for a while.
fn is_silent(client: &mut Connection) -> bool {
    client.receive_limited(SHORT).is_err_and(|e| e.kind() == std::io::ErrorKind::TimedOut)
}

/// The other side has closed it.
fn is_cut(client: &mut Connection) -> bool {
    use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
    client.receive().is_err_and(|e| matches!(e.kind(), ConnectionReset | UnexpectedEof))
}

#[test]
fn everything_passes() {
    let (_server, proxy, mut client) = linked();
    assert_eq!(client.ask(&["INCR", "n"]).unwrap(), Reply::Int(1));
    for _ in 0..3 {
        client.send(&["INCR", "n"]).unwrap();
    }
    assert_eq!([2, 3, 4].map(|_| client.receive().unwrap()), [2, 3, 4].map(Reply::Int));
    let long = "x".repeat(1_000_000);
    assert_eq!(client.ask(&["SET", "long", &long]).unwrap(), Reply::status("OK"));
    assert_eq!(client.ask(&["GET", "long"]).unwrap(), Reply::text(&long));
    assert_eq!((proxy.connections(), proxy.commands()), (1, 6));
}

#[test]
fn a_lost_reply_is_of_a_command_that_was_done_once() {
    let (server, proxy, mut client) = linked();
    let applied = proxy.next(incr, Fault::LoseReply);
    assert_eq!(client.ask(&["PING"]).unwrap(), Reply::status("PONG"));
    assert!(!applied.is_done());
    client.send(&["SET", "n", "10"]).unwrap();
    client.send(&["incr", "n"]).unwrap();
    assert_eq!(client.receive().unwrap(), Reply::status("OK"), "what was before it arrives");
    assert!(is_cut(&mut client));
    applied.wait();
    assert_eq!(count(&server), 11);
    let mut client = Connection::open(proxy.port()).unwrap();
    assert_eq!(client.ask(&["INCR", "n"]).unwrap(), Reply::Int(12), "it happens once");
    assert_eq!((proxy.connections(), proxy.commands()), (2, 4));
}

#[test]
fn a_duplicate_is_done_twice_and_answered_once() {
    let (server, proxy, mut client) = linked();
    let applied = proxy.next(incr, Fault::Duplicate);
    assert_eq!(client.ask(&["INCR", "n"]).unwrap(), Reply::Int(1));
    applied.wait();
    assert_eq!(count(&server), 2);
    assert_eq!(client.ask(&["INCR", "n"]).unwrap(), Reply::Int(3));
    assert_eq!(client.ask(&["PING"]).unwrap(), Reply::status("PONG"));
    assert_eq!(proxy.commands(), 3);
}

#[test]
fn a_command_is_cut_off_before_the_server() {
    let (server, proxy, mut client) = linked();
    let applied = proxy.next(incr, Fault::CutBefore);
    client.send(&["INCR", "n"]).unwrap();
    assert!(is_cut(&mut client));
    applied.wait();
    assert_eq!(count(&server), 0);
}

#[test]
fn a_late_command_is_done_when_its_gate_opens() {
    let (server, proxy, mut client) = linked();
    let gate = Gate::new();
    let applied = proxy.next(incr, Fault::Late(gate.clone()));
    client.send(&["INCR", "n"]).unwrap();
    assert!(is_cut(&mut client));
    applied.wait();
    // The client goes on elsewhere; not even a cut stops what is on its way.
    let mut client = Connection::open(proxy.port()).unwrap();
    assert_eq!(client.ask(&["SET", "n", "10"]).unwrap(), Reply::status("OK"));
    proxy.cut();
    assert!(!gate.is_executed());
    assert_eq!(count(&server), 10);
    gate.open();
    gate.wait_executed();
    assert_eq!(count(&server), 11);
}

#[test]
#[should_panic(expected = "before it could do the command")]
fn a_late_command_does_not_reach_a_server_that_has_ended() {
    let (server, proxy, mut client) = linked();
    let gate = Gate::new();
    proxy.next(incr, Fault::Late(gate.clone()));
    client.send(&["INCR", "n"]).unwrap();
    assert!(is_cut(&mut client));
    server.kill();
    gate.open();
    gate.wait_executed();
}

#[test]
fn a_delay_keeps_the_order() {
    let (_server, proxy, mut client) = linked();
    let mut other = Connection::open(proxy.port()).unwrap();
    let applied = proxy.next(incr, Fault::Delay(LONG));
    let start = now();
    client.send(&["INCR", "n"]).unwrap();
    client.send(&["PING"]).unwrap();
    assert_eq!(client.receive().unwrap(), Reply::Int(1));
    assert_eq!(client.receive().unwrap(), Reply::status("PONG"));
    assert!(applied.is_done());
    assert!(start.elapsed() >= LONG);
    let all = [Proxy::delay_commands, Proxy::delay_replies];
    for delay in all {
        delay(&proxy, LONG);
        let start = now();
        for client in [&mut client, &mut other] {
            client.send(&["PING"]).unwrap();
            client.send(&["INCR", "n"]).unwrap();
        }
        for client in [&mut client, &mut other] {
            assert_eq!(client.receive().unwrap(), Reply::status("PONG"));
            client.receive().unwrap();
        }
        assert!(start.elapsed() >= LONG);
        delay(&proxy, Duration::ZERO);
    }
}

#[test]
fn a_stall_upstream_keeps_commands_from_the_server() {
    let (server, proxy, mut client) = linked();
    proxy.stall_upstream(true);
    client.send(&["INCR", "n"]).unwrap();
    client.send(&["GET", "n"]).unwrap();
    assert!(is_silent(&mut client));
    assert_eq!(count(&server), 0);
    proxy.stall_upstream(false);
    assert_eq!(client.receive().unwrap(), Reply::Int(1));
    assert_eq!(client.receive().unwrap(), Reply::text("1"));
}

#[test]
fn a_stall_downstream_keeps_replies_from_the_client() {
    let (server, proxy, mut client) = linked();
    proxy.stall_downstream(true);
    client.send(&["INCR", "n"]).unwrap();
    client.send(&["INCR", "n"]).unwrap();
    assert!(is_silent(&mut client));
    assert_eq!(count(&server), 2);
    proxy.stall_downstream(false);
    assert_eq!(client.receive().unwrap(), Reply::Int(1));
    assert_eq!(client.receive().unwrap(), Reply::Int(2));
}

#[test]
fn a_cut_ends_all_and_a_refusal_all_that_come() {
    let (_server, proxy, mut client) = linked();
    let mut other = Connection::open(proxy.port()).unwrap();
    for client in [&mut client, &mut other] {
        client.ask(&["PING"]).unwrap();
    }
    proxy.refuse(true);
    assert!(is_cut(&mut Connection::open(proxy.port()).unwrap()));
    assert_eq!(client.ask(&["PING"]).unwrap(), Reply::status("PONG"));
    proxy.cut();
    assert!(is_cut(&mut client));
    assert!(is_cut(&mut other));
    proxy.refuse(false);
    let mut client = Connection::open(proxy.port()).unwrap();
    assert_eq!(client.ask(&["PING"]).unwrap(), Reply::status("PONG"));
    assert_eq!(proxy.connections(), 4);
}

#[test]
fn a_server_that_ends_ends_its_connections() {
    let (server, proxy, mut client) = linked();
    client.ask(&["PING"]).unwrap();
    server.kill();
    assert!(is_cut(&mut client));
    assert!(is_cut(&mut Connection::open(proxy.port()).unwrap()));
    server.restart();
    let mut client = Connection::open(proxy.port()).unwrap();
    assert_eq!(client.ask(&["PING"]).unwrap(), Reply::status("PONG"));
}

#[test]
fn messages_are_dropped_and_confirmations_are_not() {
    for hello in [&["HELLO", "3"][..], &["PING"][..]] {
        let (server, proxy, mut client) = linked();
        client.ask(hello).unwrap();
        let first = |reply: Reply| reply.as_list().unwrap()[0].clone();
        client.send(&["SUBSCRIBE", "a", "b"]).unwrap();
        for _ in 0..2 {
            assert_eq!(first(client.receive().unwrap()), Reply::text("subscribe"));
        }
        server.command(&["PUBLISH", "a", "heard"]);
        let heard = client.receive().unwrap();
        assert_eq!(heard.as_list().unwrap()[2], Reply::text("heard"));
        proxy.drop_pushes(true);
        let listeners = server.command(&["PUBLISH", "a", "not heard"]);
        assert_eq!(listeners, Reply::Int(1));
        client.send(&["UNSUBSCRIBE", "b"]).unwrap();
        assert_eq!(first(client.receive().unwrap()), Reply::text("unsubscribe"));
        proxy.drop_pushes(false);
        server.command(&["PUBLISH", "a", "heard again"]);
        let heard = client.receive().unwrap();
        assert_eq!(heard.as_list().unwrap()[2], Reply::text("heard again"));
    }
}

#[test]
fn replies_are_paired_in_spite_of_pushes() {
    let (server, proxy, mut client) = linked();
    assert!(!client.ask(&["HELLO", "3"]).unwrap().is_error());
    client.send(&["SUBSCRIBE", "a", "b"]).unwrap();
    drop((client.receive().unwrap(), client.receive().unwrap()));
    assert!(client.ask(&["SUBSCRIBE"]).unwrap().is_error());
    let applied = proxy.next(incr, Fault::Duplicate);
    server.command(&["PUBLISH", "a", "heard"]);
    assert!(matches!(client.receive().unwrap(), Reply::Push(_)));
    client.send(&["INCR", "n"]).unwrap();
    client.send(&["UNSUBSCRIBE"]).unwrap();
    client.send(&["GET", "n"]).unwrap();
    assert_eq!(client.receive().unwrap(), Reply::Int(1));
    assert!(matches!(client.receive().unwrap(), Reply::Push(_)));
    assert!(matches!(client.receive().unwrap(), Reply::Push(_)));
    assert_eq!(client.receive().unwrap(), Reply::text("2"));
    applied.wait();
}

/// A server that says whatever it hears, a proxy before it that does not understand
/// it, and a client of the proxy.
fn echoed() -> (Proxy, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = Proxy::of_bytes(listener.local_addr().expect("a bound socket").port());
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || std::io::copy(&mut &socket, &mut &socket));
        }
    });
    let client = dialled(&proxy);
    (proxy, client)
}

fn dialled(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens");
    client.set_read_timeout(Some(LIMIT)).expect("a limit");
    client
}

/// Say something that is no RESP, and hear it.
fn echoes(mut client: &TcpStream) -> bool {
    let mut heard = [1; 5];
    client.write_all(b"\0\xff*x\n").is_ok()
        && client.read_exact(&mut heard).is_ok()
        && heard == *b"\0\xff*x\n"
}

#[test]
fn bytes_pass_whatever_they_say_until_they_are_cut_or_refused() {
    let (proxy, client) = echoed();
    assert!(echoes(&client));
    let much: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    let mut heard = vec![0; much.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| (&client).write_all(&much).unwrap());
        (&client).read_exact(&mut heard).unwrap();
    });
    assert!(heard == much);
    proxy.refuse(true);
    assert!(echoes(&client), "it was there before");
    assert!(!echoes(&dialled(&proxy)));
    proxy.cut();
    assert!(!echoes(&client));
    proxy.refuse(false);
    assert!(echoes(&dialled(&proxy)));
}

#[test]
fn bytes_are_stalled_and_delayed_each_way() {
    let (proxy, client) = echoed();
    for stall in [Proxy::stall_upstream, Proxy::stall_downstream] {
        stall(&proxy, true);
        (&client).write_all(b"late").unwrap();
        client.set_read_timeout(Some(SHORT)).unwrap();
        let mut heard = [0; 4];
        assert!((&client).read(&mut heard).is_err(), "nothing comes");
        stall(&proxy, false);
        client.set_read_timeout(Some(LIMIT)).unwrap();
        (&client).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"late");
    }
    for delay in [Proxy::delay_commands, Proxy::delay_replies] {
        delay(&proxy, LONG);
        let start = now();
        assert!(echoes(&client));
        assert!(start.elapsed() >= LONG);
        delay(&proxy, Duration::ZERO);
    }
}
