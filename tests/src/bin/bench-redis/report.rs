//! The table that is printed.

use crate::rounds::{median, quantile};

pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// What a target is about.
pub(crate) enum Goal {
    /// The ratio of Leasehold to the other.
    Ratio(Target),
    /// Leasehold's own number.
    Own(Target),
    None,
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Micros,
    Millis,
    PerSecond,
    Number,
}

/// One line: a value per round of Leasehold and of another.
pub(crate) struct Line<'a> {
    pub(crate) what: &'a str,
    pub(crate) unit: Unit,
    pub(crate) ours: &'a [f64],
    pub(crate) theirs: &'a [f64],
    pub(crate) goal: Goal,
}

/// Counts what it has printed.
pub(crate) struct Report {
    targets: usize,
    met: usize,
}

impl Report {
    pub(crate) fn begin() -> Self {
        println!(
            "{:<46} {:>12} {:>12}   {:<22} target",
            "medians of rounds", "leasehold", "other", "ratio (quartiles)"
        );
        Self { targets: 0, met: 0 }
    }

    pub(crate) fn section(&self, title: &str) {
        println!("{title}");
    }

    pub(crate) fn line(&mut self, line: &Line<'_>) {
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

    pub(crate) fn end(&self) {
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
