//! What `--help` says below the options.

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0        it worked, or run --every: it was skipped
  1        break: nobody held the lock, or you said no; leader: nobody leads
  64       bad usage
  69       the backend is unavailable, or there are no descriptors or threads left
  70       an internal error
  74       the output cannot be written
  75       the lock is busy
  78       the backend refuses: going on would be unsafe
  79       the lease was lost: the command was stopped, or was not under the lock to its end
  126      the command cannot be executed
  127      the command was not found
  128+n    ended by signal n, the command or the wait
  others   run and lead: the command's own";

pub(crate) const EXAMPLES: &str = "\
Examples:
  leasehold run nightly -- ./backup.sh
  leasehold lead scheduler --value 10.0.0.7:8080 -- ./scheduler
  leasehold ls
  leasehold break nightly

";

pub(crate) const RUN_EXAMPLES: &str = "\
Examples:
  leasehold run nightly -- ./backup.sh
  leasehold run nightly --no-wait -- ./backup.sh || test $? -eq 75
  leasehold run stock orders -- ./move.sh
  leasehold run config --shared -- ./report.sh
  leasehold run gpu --permits 4 -- sh -c 'render --gpu \"$LEASEHOLD_SLOT\"'
  leasehold run deploy --wait=5m --label \"$USER\" -- make deploy
  leasehold run nightly --every 24h -- ./report.sh
  leasehold run nightly --slot \"$(date -I)\" -- ./report.sh
  leasehold run report --max-hold 1h -- sh -c 'report --fence \"$LEASEHOLD_FENCE\"'

When the lease cannot be renewed, the command and all its descendants get SIGTERM before it ends, \
and SIGKILL half-way to its end, 5 % of the ttl later. When it is over already, as after `break`, \
SIGKILL follows at once: somebody else may hold the lock. The exit code is then 79, whatever the \
command makes of it. So it is when the command ended well and only then turned out not to have \
been under the lock to its end. With --on-lost=warn it goes on, and its own exit code is passed \
through. \
Outside Linux only the command itself is stopped, not its descendants.

When leasehold itself is killed, the kernel kills the command (on Linux; not its descendants, and \
not a setuid program such as sudo), and the lock stays busy until its ttl has passed, with SQLite \
at most: it is free when none of them is left. What the command leaves running in the background \
is not waited for.

";

pub(crate) const LEAD_EXAMPLES: &str = "\
Examples:
  leasehold lead scheduler -- ./scheduler
  leasehold lead scheduler --value 10.0.0.7:8080 -- sh -c './scheduler --term \"$LEASEHOLD_FENCE\"'

The command is started when this process leads. When its term is lost, the command and all its \
descendants are stopped as by `leasehold run`, before the term ends, and the campaign begins \
again; a backend that does not answer is waited for without end. When the command ends by itself, \
this process resigns and exits with its code. A signal is passed on to the command, or ends the \
campaign; when the command is told to end, there is no further campaign.

";

pub(crate) const LEADER_EXAMPLES: &str = "\
Examples:
  curl \"http://$(leasehold leader scheduler)/\"
  leasehold leader scheduler --follow
  leasehold leader scheduler --json | jq .term

It prints the value that the leader shows, or if that shows nothing its host and process id. With \
--follow, nobody is an empty line.

Exit codes:
  0    somebody leads
  1    nobody leads
";

pub(crate) const LS_EXAMPLES: &str = "\
Examples:
  leasehold ls
  leasehold ls --json | jq -r '.[] | select(.held_for_ms > 3600000) | .name'
  leasehold ls --deadlocks
";

pub(crate) const BREAK_EXAMPLES: &str = "\
Examples:
  leasehold break nightly
  leasehold break nightly --yes

Exit codes:
  0    it was taken from its holder
  1    nobody held it, or you said no
";

pub(crate) const SQL_EXAMPLES: &str = "\
Examples:
  leasehold sql ddl --url postgres://jobs@db/app > migrations/0007_leasehold.sql
  leasehold sql ddl --url 'mysql://jobs@db/app?table=app.locks'

The user that clients connect as needs SELECT, INSERT, UPDATE and DELETE on the table.
";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  leasehold completions bash > ~/.local/share/bash-completion/completions/leasehold
  leasehold completions zsh > \"${fpath[1]}/_leasehold\"
  leasehold completions fish > ~/.config/fish/completions/leasehold.fish
";
