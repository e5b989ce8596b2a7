//! The table that is printed.

use super::rounds::{median, quantile};

/// A bound of a value.
pub enum Target {
    /// Lower is better.
    AtMost(f64),
    /// Higher is better.
    AtLeast(f64),
}

/// What a target is about.
pub enum Goal {
    /// The ratio of Leasehold to the other.
    Ratio(Target),
    /// Leasehold's own number.
    Own(Target),
    /// It is only shown.
    None,
}

/// How a value is shown.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// A whole number for each second.
    PerSecond,
    /// Without a unit.
    Number,
}

/// One line: a value per round of Leasehold and of another.
pub struct Line<'a> {
    /// Of what.
    pub what: &'a str,
    /// Of both.
    pub unit: Unit,
    /// Leasehold's.
    pub ours: &'a [f64],
    /// The other's; may be none.
    pub theirs: &'a [f64],
    /// What is judged.
    pub goal: Goal,
}

/// Counts what it has printed.
pub struct Report {
    targets: usize,
    met: usize,
}

impl Report {
    /// Print what stands above the columns.
    pub fn begin() -> Self {
        println!(
            "{:<46} {:>12} {:>12}   {:<22} target",
            "medians of rounds", "leasehold", "other", "ratio (quartiles)"
        );
        Self { targets: 0, met: 0 }
    }

    /// Print what the next lines are about.
    pub fn section(&self, title: &str) {
        println!("{title}");
    }

    /// Print a line, judged by its goal.
    pub fn line(&mut self, line: &Line<'_>) {
        let ratios: Vec<f64> =
            line.ours.iter().zip(line.theirs).map(|(ours, theirs)| ours / theirs).collect();
        let (other, ratio) = match ratios.is_empty() {
            true => (String::new(), String::new()),
            false => (line.unit.show(median(line.theirs)), spread(&ratios)),
        };
        let verdict = match &line.goal {
            Goal::Ratio(target) => self.judge(median(&ratios), target),
            Goal::Own(target) => self.judge(median(line.ours), target),
            Goal::None => String::new(),
        };
        let ours = line.unit.show(median(line.ours));
        let text = format!("  {:<44} {ours:>12} {other:>12}   {ratio:<22} {verdict}", line.what);
        println!("{}", text.trim_end());
    }

    /// Print how many targets were met.
    pub fn end(&self) {
        println!("{} of {} targets met", self.met, self.targets);
    }

    fn judge(&mut self, value: f64, target: &Target) -> String {
        let (met, sign, bound) = match target {
            Target::AtMost(bound) => (value <= *bound, "<=", bound),
            Target::AtLeast(bound) => (value >= *bound, ">=", bound),
        };
        self.targets += 1;
        self.met += usize::from(met);
        format!("{sign} {bound:<5} {}", if met { "met" } else { "MISSED" })
    }
}

fn spread(ratios: &[f64]) -> String {
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| quantile(ratios.to_vec(), part));
    format!("{middle:.3} ({low:.3} to {high:.3})")
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Micros => format!("{value:.1} µs"),
            Unit::Millis => format!("{value:.1} ms"),
            Unit::PerSecond => format!("{value:.0} /s"),
            Unit::Number => format!("{value:.3}"),
        }
    }
}
