//! What a guard in a user's own transaction promises.

use crate::dialect::{self, LOST, READ_TEXTS_ODDLY};
use crate::place::{LONG, Place};
use leasehold::{Kind, Lease};

impl Place {
    /// A table of the user's.
    pub(crate) fn with_work() -> Self {
        let place = Self::new();
        place.server.sql("CREATE TABLE work (done text)");
        place
    }

    /// Write something in a transaction with this guard.
    pub(crate) fn write(&self, guard: &str) -> Result<String, String> {
        let write = "INSERT INTO work VALUES ('done')";
        self.server.try_sql(&format!("BEGIN; {write}; {guard}; COMMIT"))
    }

    pub(crate) fn written(&self) -> String {
        self.server.sql("SELECT count(*) FROM work")
    }

    pub(crate) fn groups_terms_and_tickets_have_guards(&self) {
        let (a, b) = (self.client(), self.client());
        let group = self.wait(a.locks(["stock", "orders"]).acquire()).unwrap();
        let guard = group.guard().unwrap();
        self.write(&guard).unwrap();
        assert!(self.wait(b.break_lock("orders")).unwrap());
        assert!(self.write(&guard).unwrap_err().contains(LOST));
        self.wait(group.lost());
        assert_eq!(group.guard().unwrap_err().kind(), Kind::Lost);

        let term = self.wait(a.election("e").value("a").ttl(LONG).campaign()).unwrap();
        self.write(&term.guard().unwrap()).unwrap();
        self.wait(term.proclaim("b")).unwrap();
        self.write(&term.guard().unwrap()).unwrap();

        let lease = self.hold(&a, "t");
        let former = lease.guard().unwrap();
        let ticket = self.wait(lease.into_ticket()).unwrap();
        assert_eq!(lease.guard().unwrap_err().kind(), Kind::NotHeld);
        let adopted = self.wait(b.adopt(ticket.as_str())).unwrap();
        self.write(&adopted.guard().unwrap()).unwrap();
        assert!(self.write(&former).unwrap_err().contains(LOST));
    }
}

#[test]
fn what_expired_is_guarded_until_somebody_takes_it() {
    let place = Place::with_work();
    let lock = place.client().lock("x").ttl(LONG).auto_renew(false);
    let lease = place.wait(lock.acquire()).unwrap();
    let guard = lease.guard().unwrap();
    // As if the clock of the server had been put forward.
    let over = format!("UPDATE leasehold SET expires = {} WHERE name = 'x'", dialect::BEFORE);
    place.server.sql(&over);
    place.write(&guard).unwrap();
    assert_eq!(place.written(), "1");
    assert!(place.try_hold(&place.client(), "x").is_some());
    assert!(place.write(&guard).unwrap_err().contains(LOST));
    assert_eq!(place.written(), "1");
}

#[test]
fn a_guard_fails_when_the_lease_is_not_held() {
    let place = Place::with_work();
    let (a, b) = (place.client(), place.client());
    let lose = |what: &str, lease: &Lease| match what {
        "released" => place.wait(lease.release()).unwrap(),
        "broken" => assert!(place.wait(b.break_lock(what)).unwrap()),
        "deleted" => drop(place.server.sql("DELETE FROM leasehold WHERE name = 'deleted'")),
        "handed on" => drop(place.wait(lease.into_ticket()).unwrap()),
        _ => {
            place.wait(lease.release()).unwrap();
            std::mem::forget(place.hold(&b, what));
        }
    };
    for what in ["released", "broken", "deleted", "handed on", "taken"] {
        let lease = place.hold(&a, what);
        let guard = lease.guard().unwrap();
        place.write(&guard).unwrap();
        lose(what, &lease);
        let error = place.write(&guard).unwrap_err();
        assert!(error.contains(LOST), "{what}: {error}");
    }
    assert_eq!(place.written(), "5");
}

#[test]
fn a_guard_has_nothing_that_a_driver_treats_and_names_any_lock() {
    let place = Place::with_work();
    let client = place.client();
    for name in ["a'b", "%s ?1 :x $1 {y} \\n @z", "é\"\u{1f512}--"] {
        let lease = place.hold(&client, name);
        let guard = lease.guard().unwrap();
        assert!(!guard.contains(['%', '?', ':', '$', '{', '\\', '@']), "{guard}");
        place.write(&guard).unwrap();
        place.write(&format!("{READ_TEXTS_ODDLY}; {guard}")).unwrap();
    }
    let other = place.client_of(&format!("{}&table=a:b", place.server.url()));
    let lease = place.hold(&other, "x");
    let error = lease.guard().unwrap_err();
    assert_eq!((error.kind(), lease.is_valid()), (Kind::Unsupported, true));
    assert!(error.to_string().contains("':'"), "{error}");
}
