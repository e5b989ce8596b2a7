//! What a lock protects, in these tests: some counters in a file. It refuses
//! every fence that is smaller than one it has seen, reads included.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// How many workers have a counter.
pub const WORKERS: usize = 20;

/// A file of counters. Each operation is atomic; a read and the write that
/// follows it are not, that is what the lock is for.
pub struct Register {
    path: PathBuf,
}

/// What stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The largest fence it has seen.
    pub fence: u64,
    /// The process that read it last.
    pub reader: u32,
    /// How many writes it has accepted.
    pub writes: u64,
    /// How many reads and writes it has refused.
    pub refused: u64,
    /// All increments together, counted apart from the workers' own.
    pub total: u64,
    /// The increments of each worker.
    pub counts: [u64; WORKERS],
}

impl Content {
    /// One more for a worker.
    pub fn plus_one(&self, worker: usize) -> Content {
        let mut more = self.clone();
        more.total += 1;
        more.counts[worker] += 1;
        more
    }
}

impl Register {
    /// The register in this file, which is made when it is missing.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What stands there now, for onlookers. It waits for nobody, as whoever is
    /// in an operation may have been stopped there.
    pub fn look(&self) -> io::Result<Content> {
        self.load()
    }

    /// Read with a fence, as `reader`; `None` if it is too small.
    pub fn read(&self, fence: u64, reader: u32) -> io::Result<Option<Content>> {
        self.operate(fence, |seen| Content { reader, ..seen.clone() })
    }

    /// Write with a fence; false if it is too small.
    pub fn write(&self, fence: u64, content: &Content) -> io::Result<bool> {
        let written = |seen: &Content| {
            let (fence, writes, refused) = (seen.fence, seen.writes + 1, seen.refused);
            Content { fence, writes, refused, ..content.clone() }
        };
        Ok(self.operate(fence, written)?.is_some())
    }

    fn operate(
        &self,
        fence: u64,
        change: impl FnOnce(&Content) -> Content,
    ) -> io::Result<Option<Content>> {
        let _one_at_a_time = self.operation()?;
        let mut seen = self.load()?;
        if fence < seen.fence {
            seen.refused += 1;
            self.store(&seen)?;
            return Ok(None);
        }
        seen.fence = fence;
        let content = change(&seen);
        self.store(&content)?;
        Ok(Some(content))
    }

    /// Ends when the file is dropped, or its process.
    fn operation(&self) -> io::Result<File> {
        let file = File::create(self.path.with_extension("operation"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn load(&self) -> io::Result<Content> {
        let text = match fs::read_to_string(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
            text => text?,
        };
        let number = |word: &str| word.parse::<u64>().map_err(io::Error::other);
        let numbers = text.split(' ').map(number).collect::<io::Result<Vec<_>>>()?;
        let [fence, reader, writes, refused, total, ref counts @ ..] = numbers[..] else {
            return Err(io::Error::other(format!("a broken register: {text:?}")));
        };
        let counts = counts.try_into().map_err(io::Error::other)?;
        Ok(Content { fence, reader: reader as u32, writes, refused, total, counts })
    }

    /// Whole or not at all, also when the process is killed here.
    fn store(&self, content: &Content) -> io::Result<()> {
        let Content { fence, reader, writes, refused, total, counts } = content;
        let head = [*fence, u64::from(*reader), *writes, *refused, *total];
        let words: Vec<String> = head.iter().chain(counts).map(u64::to_string).collect();
        let new = self.path.with_extension("new");
        fs::write(&new, words.join(" "))?;
        fs::rename(&new, &self.path)
    }
}
