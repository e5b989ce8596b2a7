//! Who tends a link: waits until there is something to read, and writes what could
//! not be written at once.
//!
//! It is the client's own thread, which lends that to whoever waits for an answer, a
//! Tokio runtime or a thread: there it is read without waking another thread. Whoever
//! reads does so under a lock, and it is right whoever it is; what is lent is the
//! waiting alone. So the client's thread, which looks again and again while it is lent,
//! can read too. It takes the loan back when something lies there that was not read,
//! and when nobody has asked for a while.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

use super::link::Link;
use super::socket::{Twin, Watch};

/// The client's thread looks this often while the link is lent. What nobody reads lies
/// there for twice as long at most.
const LOOK: Duration = Duration::from_millis(5);
/// After so many looks in which nobody has asked, a loan ends.
const IDLE_LOOKS: u32 = 20;

/// What came of a look at a loan.
enum Look {
    /// It was read there meanwhile.
    Read,
    Unread,
    /// Nobody has asked there.
    Idle,
    Over,
}

impl Link {
    /// Read and write until it ends, or see that somebody does; answers why it ended.
    pub(super) async fn tend(&self) -> String {
        self.tending.state().home = Handle::try_current().ok().map(|here| here.id());
        let _lent_no_more = Home(self);
        loop {
            if let Err(why) = self.tend_here().await {
                return why;
            }
            if let Err(why) = self.look_after().await {
                return why;
            }
        }
    }

    /// Until it is lent.
    async fn tend_here(&self) -> Result<(), String> {
        let here = Here::wait_for(self).map_err(unwatchable)?;
        let Some(watch) = &here.watch else { return Ok(()) };
        while !self.tending.is_lent() {
            tokio::select! {
                biased;
                () = self.tending.changed.notified() => {}
                why = self.read_when(watch, || {}) => return Err(why),
                why = self.write_when(watch) => return Err(why),
            }
        }
        Ok(())
    }

    /// Until it is given or taken back.
    async fn look_after(&self) -> Result<(), String> {
        let mut idle = 0;
        loop {
            tokio::select! {
                biased;
                () = self.tending.changed.notified() => {}
                () = async { self.clock.sleep(LOOK).await } => {}
            }
            if let Some(why) = self.broken() {
                return Err(why);
            }
            let look = self.look();
            idle = if matches!(look, Look::Idle) { idle + 1 } else { 0 };
            let is_unread = !matches!(look, Look::Read | Look::Over) && self.read()?;
            let is_unwritten = match self.write() {
                Poll::Ready(written) => written.map(|()| false)?,
                Poll::Pending => true,
            };
            if is_unread || is_unwritten || idle >= IDLE_LOOKS || matches!(look, Look::Over) {
                self.tending.end_any();
                return Ok(());
            }
        }
    }

    fn look(&self) -> Look {
        let mut state = self.tending.state();
        let Some(loan) = &mut state.loan else { return Look::Over };
        let is_used = std::mem::take(&mut loan.is_used);
        match (std::mem::take(&mut loan.has_read), is_used) {
            (true, _) => Look::Read,
            (false, true) => Look::Unread,
            (false, false) => Look::Idle,
        }
    }

    /// Read whenever there is something; answers why nothing more comes.
    async fn read_when(&self, watch: &Watch, after: impl Fn()) -> String {
        loop {
            if let Err(e) = watch.ready(Interest::READABLE).await {
                return unwatchable(e);
            }
            match watch.done(Interest::READABLE, || self.read()) {
                Some(Err(why)) => return why,
                Some(Ok(_)) => after(),
                None => {}
            }
        }
    }

    /// Write whenever there is something and room for it; answers why that is over.
    async fn write_when(&self, watch: &Watch) -> String {
        let mut written = self.write();
        loop {
            match written {
                Poll::Ready(Ok(())) => {
                    self.tending.flush.notified().await;
                    written = self.write();
                }
                Poll::Ready(Err(why)) => return why,
                Poll::Pending => {
                    if let Err(e) = watch.ready(Interest::WRITABLE).await {
                        return unwatchable(e);
                    }
                    written =
                        watch.done(Interest::WRITABLE, || self.write()).unwrap_or(Poll::Pending);
                }
            }
        }
    }
}

fn unwatchable(e: std::io::Error) -> String {
    format!("the socket cannot be waited for: {e}")
}

/// The client's thread waits for the socket. Dropped, it does not any more.
struct Here<'a> {
    link: &'a Link,
    watch: Option<Watch>,
}

impl<'a> Here<'a> {
    fn wait_for(link: &'a Link) -> std::io::Result<Self> {
        let twin = link.tending.state().twin.take();
        let twin = twin.map_or_else(|| link.socket.twin(), Ok)?;
        Ok(Self { link, watch: Some(twin.watch()?) })
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        let twin = self.watch.take().and_then(|watch| watch.end().ok());
        self.link.tending.state().twin = twin;
    }
}

/// While the client's thread sees to it that the link is tended. Afterwards nobody does.
struct Home<'a>(&'a Link);

impl Drop for Home<'_> {
    fn drop(&mut self) {
        self.0.tending.state().home = None;
        self.0.tending.end_any();
    }
}

/// Tends a link on loan. Dropped, it gives it back.
pub(super) struct Guest {
    pub(super) link: Arc<Link>,
    pub(super) number: u64,
    pub(super) at: Id,
}

impl Guest {
    pub(super) async fn tend(self, bell: &Notify) {
        let Link { tending, .. } = &*self.link;
        let Ok(watch) = self.link.socket.twin().and_then(Twin::watch) else { return };
        tending.begin(self.number, self.at);
        while tending.is_lent_as(self.number) {
            tokio::select! {
                biased;
                why = self.link.read_when(&watch, || _ = tending.has_read(self.number)) => {
                    return self.link.shut(&why);
                }
                () = bell.notified() => {
                    // Others who are about to ask are written together with these.
                    tokio::task::yield_now().await;
                    if let Poll::Ready(Err(why)) = self.link.write() {
                        return self.link.shut(&why);
                    }
                    // Else the client's thread waits for room.
                }
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.link.tending.state().unfit = Some(self.at);
        }
        self.link.tending.end(self.number);
    }
}
