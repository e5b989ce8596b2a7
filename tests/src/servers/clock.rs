//! A wall clock of a server that can be put forward and back while it runs.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

use super::run;

const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/servers/clock_shim.c");

/// The difference to the machine's clock, in memory that the server shares.
pub(super) struct Clock {
    library: PathBuf,
    file: PathBuf,
    micros: &'static AtomicI64,
}

impl Clock {
    /// Build the shim into a directory of the server.
    pub(super) fn build(dir: &Path) -> Self {
        let (library, file) = (dir.join("clock_shim.so"), dir.join("clock"));
        let mut build = Command::new("cc");
        build.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(SHIM);
        run(&mut build, "apt-get install -y gcc libc6-dev");
        std::fs::write(&file, [0; 8]).expect("a new directory");
        let micros = share(&file);
        Self { library, file, micros }
    }

    /// Have a server see this clock.
    pub(super) fn set_for(&self, server: &mut Command) {
        server.env("LD_PRELOAD", &self.library).env("LEASEHOLD_CLOCK", &self.file);
    }

    pub(super) fn shift(&self, seconds: f64) {
        self.micros.fetch_add((seconds * 1e6) as i64, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it was mapped by `share`, and nobody has it after this.
        unsafe { libc::munmap(self.micros.as_ptr().cast(), size_of::<AtomicI64>()) };
    }
}

/// Mapped and not written to, because a write may be seen half done.
#[allow(unsafe_code)]
fn share(file: &Path) -> &'static AtomicI64 {
    let file = File::options().read(true).write(true).open(file).expect("just written");
    let (access, size) = (libc::PROT_READ | libc::PROT_WRITE, size_of::<AtomicI64>());
    // SAFETY: a new mapping of eight bytes that are in the file, aligned to a
    // page; it stays until `Clock` is dropped, which alone has the reference.
    unsafe {
        let page =
            libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(page, libc::MAP_FAILED, "eight bytes could not be mapped");
        AtomicI64::from_ptr(page.cast())
    }
}
