//! What tasks do in elections.

use std::sync::Arc;
use std::time::Duration;

use leasehold::runtime::Runtime;
use leasehold::{Election, Error, Term};

use super::STORM;
use super::held::{Grant, Kind};
use super::process::Process;
use super::weather::{Use, Weather};

const NAME: &str = "leader";

impl Process {
    /// Ask who leads, or lead.
    pub(super) async fn lead(&self, random: &mut fastrand::Rng) -> Result<bool, Error> {
        let election = self.client.election(NAME).value("first").ttl(self.some_ttl(random));
        match random.u32(..6) {
            0..3 => self.ask(&election).await,
            3 => self.lead_on(random, &election).await,
            _ => self.campaign(random, &election).await,
        }
    }

    /// It is answered what was so after it was asked.
    async fn ask(&self, election: &Election) -> Result<bool, Error> {
        let past = self.weather.ledger.past();
        if let Some(leader) = election.leader().await? {
            self.weather.faults.used(Use::Named);
            self.weather.ledger.named(&leader, past);
        }
        Ok(false)
    }

    /// Look on until the storm is over: terms follow each other.
    pub(super) async fn look_on(self: Arc<Self>) {
        let leaders = self.client.election(NAME).observe();
        let mut last = 0;
        while self.weather.truth.elapsed() < STORM {
            let past = self.weather.ledger.past().max(last);
            let left = STORM.saturating_sub(self.weather.truth.elapsed());
            let told = tokio::select! {
                biased;
                told = leaders.next() => told,
                () = self.machine.sleep(left) => return,
            };
            match told {
                Ok(Some(leader)) => {
                    self.weather.faults.used(Use::Observed);
                    self.weather.ledger.named(&leader, past);
                    last = last.max(leader.term - 1);
                }
                Err(e) if e.kind() != leasehold::Kind::Unavailable => {
                    return self.weather.ledger.broken(format!("unexpected: {e:?}"));
                }
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// One term, in which another value is shown.
    async fn campaign(
        &self,
        random: &mut fastrand::Rng,
        election: &Election,
    ) -> Result<bool, Error> {
        let before = self.weather.ledger.highest(NAME);
        let term = match random.u32(..3) {
            0 => self.cut(random, 12, election.campaign()).await.transpose()?,
            _ => {
                let wait = Duration::from_millis(random.u64(1..3000));
                Some(election.clone().wait(wait).campaign().await?)
            }
        };
        let Some(term) = term.map(Arc::new) else { return Ok(false) };
        begun(&self.weather, &term);
        let (now, grant) = (self.weather.truth.elapsed(), Grant::of(&term, Kind::Alone));
        self.weather.ledger.granted(&term, grant.clone(), before, now);
        if random.bool() {
            let value = random.u32(..1000).to_string();
            self.weather.ledger.proclaims(term.number(), &value);
            // What comes of it is told by those who look on.
            drop(term.proclaim(value).await);
        }
        self.hold(random, &*term).await;
        let number = term.number();
        if self.end(random, term, &[grant]).await {
            self.weather.ledger.resigned(number);
        }
        Ok(true)
    }

    /// One term after the other; a body ends before its term does.
    async fn lead_on(
        &self,
        random: &mut fastrand::Rng,
        election: &Election,
    ) -> Result<bool, Error> {
        let works = Duration::from_millis(random.u64(1..3000));
        let (weather, machine) = (self.weather.clone(), self.machine.clone());
        let body = async move |term: &Term| {
            const STEP: Duration = Duration::from_millis(20);
            begun(&weather, term);
            let until = weather.truth.elapsed() + works;
            while weather.truth.elapsed() < until {
                machine.sleep(STEP).await;
                if let Some(loss) = term.loss() {
                    let broken = format!("a body works beyond its term, {loss:?}: {term:?}");
                    weather.ledger.broken(broken);
                }
            }
        };
        let limit = Duration::from_millis(random.u64(1..6000));
        tokio::select! {
            biased;
            led = election.lead(body) => led.map(|()| true),
            () = self.machine.sleep(limit) => Ok(true),
        }
    }
}

fn begun(weather: &Weather, term: &Term) {
    weather.faults.used(Use::Led);
    weather.ledger.proclaims(term.number(), "first");
    weather.ledger.leads(term.number());
}
