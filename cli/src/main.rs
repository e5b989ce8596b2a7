//! The command line of Leasehold: run a command under a lock or while it leads, see who
//! holds what, take a lock away. The wheel and the npm package ship this program, too.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use leasehold::Options;

mod args;
mod child;
mod deadlocks;
mod evict;
mod exit;
mod help;
mod lead;
mod leader;
mod list;
mod plan;
mod run;
mod show;
mod signals;
#[cfg(target_os = "linux")]
mod start;
mod stderr;
mod tree;
mod wait;

use args::{Args, Sql, Task};
use exit::Failure;

fn main() -> ExitCode {
    let done = match Args::try_parse() {
        Ok(args) => perform(args),
        Err(error) if error.use_stderr() => {
            let message = error.render().to_string();
            let message = message.strip_prefix("error: ").unwrap_or(&message);
            Err(Failure::usage(format!("{}{}", message.trim_end(), args::cure(&error))))
        }
        Err(help_or_version) => print(&help_or_version.render().to_string()),
    };
    let code = done.unwrap_or_else(|failure| {
        say(&failure.message);
        failure.code
    });
    stderr::flush();
    code.into()
}

fn perform(args: Args) -> Result<u8, Failure> {
    if let Task::Completions { shell } = args.task {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "leasehold", &mut script);
        return print(&String::from_utf8_lossy(&script));
    }
    if let Task::Sql { what: Sql::Ddl } = args.task {
        return print(&format!("{}\n", leasehold::ddl(&args.url)?));
    }
    check_descriptors()?;
    // One thread: the command must be started by one that lives as long as we do.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|e| Failure::system("cannot wait for events", &e))?;
    runtime.block_on(async {
        match args.task {
            Task::Run(run) => run::run(&args.url, run).await,
            Task::Lead(lead) => lead::lead(&args.url, lead).await,
            Task::Leader { name, follow, json } => {
                let client = Options::new().client(&args.url)?;
                leader::leader(&client, name.as_str(), follow, json).await
            }
            Task::Ls { json, deadlocks } => {
                let client = Options::new().connect(&args.url).await?;
                match deadlocks {
                    true => deadlocks::list(&client, json).await,
                    false => list::list(&client, json).await,
                }
            }
            Task::Break { name, yes } => {
                let client = Options::new().connect(&args.url).await?;
                evict::evict(&client, name.as_str(), yes).await
            }
            Task::Completions { .. } | Task::Sql { .. } => Ok(exit::OK),
        }
    })
}

/// As many pairs of descriptors as are open at once when a command is started under a lock of
/// SQLite, which has the most files, and a few more.
const PAIRS: usize = 13;

/// With too few, some of what this program is made of panics, and other parts take it for
/// a backend that is not there yet.
fn check_descriptors() -> Result<(), Failure> {
    let pairs: std::io::Result<Vec<_>> = (0..PAIRS).map(|_| std::io::pipe()).collect();
    pairs.map(drop).map_err(|e| Failure::system("cannot open files and connections", &e))
}

/// Write to stdout. Whoever closed it early, as `head` does, has seen enough.
fn print(text: &str) -> Result<u8, Failure> {
    write(text).map(|_| exit::OK)
}

/// The same; answers whether anybody still reads it.
fn write(text: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::output(e)),
    }
}

/// Say it on stderr.
fn say(message: &str) {
    stderr::write(format!("leasehold: {message}\n"));
}

/// Whether a person can be asked.
fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
