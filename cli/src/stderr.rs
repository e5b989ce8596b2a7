//! What is said to people. Nobody may read it, as with a full pipe or a terminal that
//! was stopped by Ctrl-S: so a thread of its own writes, and whoever waits for that does
//! not wait for long. The lock, the command and its signals come first.

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How long a line may take that others are to come after, such as the command's own.
const SOON: Duration = Duration::from_millis(100);
/// How long the last ones may take.
const LAST: Duration = Duration::from_secs(1);

static WRITER: OnceLock<Option<Writer>> = OnceLock::new();

struct Writer {
    queue: Mutex<Sender<String>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    counts: Mutex<Counts>,
    written: Condvar,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    written: u64,
}

/// Write it; where stderr is closed there is nobody to tell.
pub(crate) fn write(text: String) {
    match WRITER.get_or_init(Writer::start) {
        Some(writer) => writer.write(text),
        // No thread is to be had.
        None => drop(std::io::stderr().write_all(text.as_bytes())),
    }
}

/// Before the process ends.
pub(crate) fn flush() {
    if let Some(Some(writer)) = WRITER.get() {
        writer.progress.wait(LAST);
    }
}

impl Writer {
    fn start() -> Option<Self> {
        let (queue, texts) = channel();
        let progress = Arc::new(Progress::default());
        let told = progress.clone();
        let thread = std::thread::Builder::new().name("stderr".into());
        thread.spawn(move || write_all(&texts, &told)).ok()?;
        Some(Self { queue: Mutex::new(queue), progress })
    }

    fn write(&self, text: String) {
        let is_stuck = {
            let mut counts = self.progress.counts();
            counts.sent += 1;
            counts.sent > counts.written + 1
        };
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).send(text));
        if !is_stuck {
            self.progress.wait(SOON);
        }
    }
}

fn write_all(texts: &Receiver<String>, progress: &Progress) {
    for text in texts {
        drop(std::io::stderr().write_all(text.as_bytes()));
        progress.counts().written += 1;
        progress.written.notify_all();
    }
}

impl Progress {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, limit: Duration) {
        let is_open = |counts: &mut Counts| counts.written < counts.sent;
        drop(self.written.wait_timeout_while(self.counts(), limit, is_open));
    }
}
