//! What can be asked on the command line, and the help for it.

use std::ffi::OsString;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use leasehold::backend::Mode;

use crate::exit;
use crate::help::{
    BREAK_EXAMPLES, COMPLETIONS_EXAMPLES, EXAMPLES, EXIT_CODES, LEAD_EXAMPLES, LEADER_EXAMPLES,
    LS_EXAMPLES, RUN_EXAMPLES, SQL_EXAMPLES,
};

/// Run a command under a lock that no other machine or process can hold at the same time
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Where the leases are: sqlite: (a file in your state directory), sqlite:PATH,
    /// redis://USER:PASSWORD@HOST:PORT/DB, redlock://HOST:PORT,HOST:PORT,HOST:PORT,
    /// etcd://HOST:PORT,HOST:PORT (rediss: and etcds: for TLS),
    /// zookeeper://HOST:PORT,HOST:PORT/PATH (zookeepers: for TLS),
    /// postgres://USER:PASSWORD@HOST:PORT/DATABASE, or mysql://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, global = true, env = "LEASEHOLD_URL", hide_env_values = true)]
    #[arg(default_value = "sqlite:", value_parser = url)]
    pub(crate) url: String,
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Wait for a lock, run a command while holding it, release it
    #[command(after_help = format!("{RUN_EXAMPLES}{EXIT_CODES}"))]
    Run(Run),
    /// Wait to lead, run a command while leading, and again after every loss
    #[command(after_help = format!("{LEAD_EXAMPLES}{EXIT_CODES}"))]
    Lead(Lead),
    /// Show who leads
    #[command(after_help = LEADER_EXAMPLES)]
    Leader {
        #[command(flatten)]
        name: Name,
        /// Go on, and print a line whenever another one leads, the leader shows another value, or
        /// nobody leads; within a second
        #[arg(long)]
        follow: bool,
        /// Print an object, or null when nobody leads; times are in milliseconds
        #[arg(long)]
        json: bool,
    },
    /// Show the locks that are held or waited for
    #[command(after_help = LS_EXAMPLES)]
    Ls {
        /// Print an array of objects; times are in milliseconds
        #[arg(long)]
        json: bool,
        /// Show only who waits for whom in a circle: a deadlock, if each of these processes does
        /// one thing at a time
        #[arg(long)]
        deadlocks: bool,
    },
    /// Take a lock from whoever holds it; what runs under it is stopped
    #[command(after_help = BREAK_EXAMPLES)]
    Break {
        #[command(flatten)]
        name: Name,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Print SQL for the database that --url names
    #[command(after_help = SQL_EXAMPLES)]
    Sql {
        #[command(subcommand)]
        what: Sql,
    },
    /// Print a script that completes leasehold's arguments in a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sql {
    /// Print the statements that make the table of the locks, for migrations. A client makes the
    /// table at its first connect if its user may. No server is asked
    Ddl,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Name {
    /// The lock's name
    #[arg(required_unless_present = "dashed", value_name = "NAME")]
    plain: Option<String>,
    /// The lock's name, if it begins with a dash: --name=-x
    #[arg(long = "name", id = "dashed", value_name = "NAME", conflicts_with = "plain")]
    #[arg(require_equals = true, allow_hyphen_values = true)]
    dashed: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Names {
    /// The lock's name; several are taken together, all or none
    #[arg(required_unless_present = "dashed", value_name = "NAME")]
    plain: Vec<String>,
    /// A lock's name, if it begins with a dash: --name=-x
    #[arg(long = "name", id = "dashed", value_name = "NAME")]
    #[arg(require_equals = true, allow_hyphen_values = true)]
    dashed: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) names: Names,
    /// How long the lease outlives this process's last sign of life, such as 500ms or 1m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ttl: Option<Duration>,
    /// How long the lock stays busy after the end of a lease that was not given back, for what
    /// cannot check a fencing token, such as 15s [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) delay: Option<Duration>,
    /// How long to wait for a busy lock, and for several together, such as 30s; without a time, or without this option: for
    /// ever. Without a time it stands after the names. A server that is not there yet is waited for as long, without a time 10s, and one that
    /// hangs for its connect_timeout at the least: see --no-wait
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "no_wait")]
    #[arg(num_args = 0..=1)]
    pub(crate) wait: Option<Option<Duration>>,
    /// Do not wait for a busy lock: exit with 75. Here, too, a server has its connect_timeout to
    /// answer, 5s unless the URL sets it, as redis://HOST?connect_timeout=1s does
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// What to exit with when the lock is busy; 0 where another code would count as a failure, as
    /// in Kubernetes and systemd
    /// [default: 75, and 0 with --every or --slot]
    #[arg(long, value_name = "CODE")]
    pub(crate) busy_exit: Option<u8>,
    /// Run the command once per interval, such as 24h, whichever machine comes first: it is
    /// skipped, with 0, while another runs it or it was run. After a failure it is free at once
    #[arg(long, value_name = "TIME", value_parser = time)]
    #[arg(conflicts_with_all = ["wait", "no_wait", "shared", "permits", "min_hold"])]
    pub(crate) every: Option<Duration>,
    /// Run it once for each slot instead, such as "$(date -I)"; it is remembered for 7 days, or as
    /// long as --every says. Each is a lock of its own, NAME@SLOT
    #[arg(long, value_name = "TEXT")]
    #[arg(conflicts_with_all = ["wait", "no_wait", "shared", "permits", "min_hold"])]
    pub(crate) slot: Option<String>,
    /// Share the lock: any number of runs that share it go on at once, and no other one beside them
    #[arg(long, conflicts_with = "permits")]
    pub(crate) shared: bool,
    /// Let as many run at once, from 1 to 1000, each with a slot of its own, which the command finds
    /// in LEASEHOLD_SLOT, from 0; all who use the name say the same number
    #[arg(long, value_name = "N")]
    pub(crate) permits: Option<u32>,
    /// What others see of the holder, after its host and process id
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// The longest the lock is held, however healthy; then it is lost
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) max_hold: Option<Duration>,
    /// The shortest that the lock stays taken: given back before, it rests, and is nobody's
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) min_hold: Option<Duration>,
    /// What to do with the command when the lease is lost
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnLost::Terminate)]
    pub(crate) on_lost: OnLost,
    /// The command and its arguments. It finds the lock's name in LEASEHOLD_NAME and the fencing
    /// token in LEASEHOLD_FENCE; with etcd, of a lock held alone, also the key that has it as its
    /// create_revision, in LEASEHOLD_KEY.
    /// Of several locks it finds the tokens by name in LEASEHOLD_FENCES, as JSON, the keys in
    /// LEASEHOLD_KEYS, and the slots in LEASEHOLD_SLOTS
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lead {
    #[command(flatten)]
    pub(crate) name: Name,
    /// What others see of the leader, such as its address; nothing without this option
    #[arg(long, value_name = "TEXT")]
    pub(crate) value: Option<String>,
    /// How long others wait for a leader that vanished, such as 500ms or 1m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ttl: Option<Duration>,
    /// How long nobody leads after the end of a term that was not given back, such as 15s; `leader`
    /// names who led before until then
    /// [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) delay: Option<Duration>,
    /// The longest term, however healthy; then it is lost
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) max_hold: Option<Duration>,
    /// The command and its arguments. It finds the election's name in LEASEHOLD_NAME and the
    /// number of the term, which is its fencing token, in LEASEHOLD_FENCE; with etcd, also the key
    /// that has it as its create_revision, in LEASEHOLD_KEY
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// Stop it and all its descendants before the lease ends
    Terminate,
    /// Say so on stderr, and let it go on without the lock
    Warn,
}

impl Run {
    /// Whether it is run once per interval or slot.
    pub(crate) fn is_once(&self) -> bool {
        self.every.is_some() || self.slot.is_some()
    }

    /// What to exit with when the lock is busy, or the command is skipped.
    pub(crate) fn busy_exit(&self) -> u8 {
        // A job of cron that is skipped is no failure.
        self.busy_exit.unwrap_or(if self.is_once() { exit::OK } else { exit::BUSY })
    }

    /// How the locks are to be held.
    pub(crate) fn mode(&self) -> Mode {
        match (self.shared, self.permits) {
            (true, _) => Mode::Shared,
            (false, Some(permits)) => Mode::Counted { permits },
            (false, None) => Mode::Exclusive,
        }
    }
}

impl Names {
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.plain.iter().chain(&self.dashed).map(String::as_str)
    }
}

impl From<Name> for Names {
    fn from(name: Name) -> Self {
        let (plain, dashed) = (name.plain, name.dashed);
        Self { plain: plain.into_iter().collect(), dashed: dashed.into_iter().collect() }
    }
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        self.plain.as_deref().or(self.dashed.as_deref()).unwrap_or_default()
    }
}

/// Where clap would advise what is no use here.
pub(crate) fn cure(error: &clap::Error) -> &'static str {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return "";
    };
    match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with("--") => {
            "\n\nA name that begins with a dash is written --name=-x."
        }
        ErrorKind::ValueValidation if argument.starts_with("--wait ") => {
            "\n\n--wait without a time stands after the names."
        }
        _ => "",
    }
}

/// A variable that is set to nothing is a mistake, such as a misspelt name in a compose
/// file. The file of this machine would not exclude the others.
fn url(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty; give a URL, or unset LEASEHOLD_URL for the file in your state \
                   directory, which only this machine shares"
            .into()),
        _ => Ok(text.to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|e| format!("{e}; write a number and a unit, such as 500ms, 30s or 2m"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(args: &[&str]) -> Result<Run, clap::Error> {
        let all = ["leasehold", "run"].iter().chain(args).copied();
        Args::try_parse_from(all).map(|args| match args.task {
            Task::Run(run) => run,
            other => panic!("{other:?} is not a run"),
        })
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn wait_has_its_time_after_a_space_or_an_equals_sign_or_none() {
        let wait = |arg: &[&str]| run(&[&["n"], arg, &["--", "true"]].concat()).unwrap();
        assert_eq!(wait(&[]).wait, None);
        assert_eq!(wait(&["--wait"]).wait, Some(None));
        assert_eq!(wait(&["--wait=30s"]).wait, Some(Some(Duration::from_secs(30))));
        let spaced = run(&["--wait", "1s", "a", "b", "--", "true"]).unwrap();
        assert_eq!(spaced.wait, Some(Some(Duration::from_secs(1))));
        assert_eq!(spaced.names.all().collect::<Vec<_>>(), ["a", "b"]);
        let error = run(&["--wait", "a", "--", "true"]).unwrap_err();
        assert!(cure(&error).contains("after the names"), "{error}");
        assert!(wait(&["--no-wait"]).no_wait);
        assert!(run(&["n", "--wait", "--no-wait", "--", "true"]).is_err());
    }

    #[test]
    fn names_are_all_that_stands_before_the_command() {
        let names = |args: &[&str]| -> Vec<String> {
            let run = run(&[args, &["--", "c", "d"]].concat()).unwrap();
            run.names.all().map(str::to_owned).collect()
        };
        assert_eq!(names(&["b", "a"]), ["b", "a"]);
        assert_eq!(names(&["b", "--no-wait", "a", "--name=-x", "--name=y"]), ["b", "a", "-x", "y"]);
        assert_eq!(names(&["--name=-x"]), ["-x"]);
        assert!(run(&["--", "true"]).is_err());
    }

    #[test]
    fn every_value_may_stand_after_a_space() {
        let args =
            "--ttl 1s --delay 2s --busy-exit 3 --label l --max-hold 4s --on-lost warn --permits 5";
        let args: Vec<&str> = ["n"].into_iter().chain(args.split(' ')).chain(["--", "c"]).collect();
        let run = run(&args).unwrap();
        assert_eq!(run.names.all().collect::<Vec<_>>(), ["n"]);
        assert_eq!(
            (run.busy_exit, run.permits, run.label.as_deref()),
            (Some(3), Some(5), Some("l"))
        );
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let run = run(&["n", "--", "make", "--wait", "--", "-k"]).unwrap();
        assert_eq!(run.command, ["make", "--wait", "--", "-k"]);
        assert_eq!((run.wait, run.on_lost), (None, OnLost::Terminate));
    }

    #[test]
    fn every_task_has_examples() {
        for task in Args::command().get_subcommands() {
            let help = task.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("leasehold {}", task.get_name())), "{task}: {help}");
        }
    }
}
