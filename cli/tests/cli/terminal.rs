//! A terminal for the programs of a test.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::rig::{Running, until};

/// A pseudo-terminal, and all that was written on it so far.
pub(crate) struct Terminal {
    pub(crate) keyboard: File,
    other_end: File,
    pub(crate) screen: Arc<Mutex<String>>,
}

/// Both ends of one: it is hung up when the first is closed.
pub(crate) fn pair() -> (File, File) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    (master.into(), slave.into())
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let (keyboard, other_end) = pair();
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, shown) = (keyboard.try_clone().unwrap(), screen.clone());
        // It ends when the last program has closed the other end.
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { keyboard, other_end, screen }
    }

    pub(crate) fn end(&self) -> Stdio {
        self.other_end.try_clone().unwrap().into()
    }

    pub(crate) fn shows(&self, text: &str) -> bool {
        self.screen.lock().unwrap().contains(text)
    }

    pub(crate) fn until_shown(&self, text: &str) {
        until(text, || self.shows(text).then_some(()));
    }

    pub(crate) fn start(&self, mut command: Command) -> Running {
        command.stdin(self.end()).stderr(self.end()).stdout(Stdio::null());
        Running::start_as_is(command)
    }
}
