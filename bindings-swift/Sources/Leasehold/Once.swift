internal import LeaseholdCore

/// What came of work that is done once per interval.
public enum Once<Value> {
    /// It was done, and this is what it returned.
    case ran(Value)
    /// It was not. `nextIn`: when to try again; while another works, when its lease ends unless
    /// it is renewed.
    case skipped(why: Skip, nextIn: Duration)
}

extension Once: Sendable where Value: Sendable {}

/// Why work was skipped. The raw values are stable, the same in every language.
public enum Skip: String, Sendable, CaseIterable {
    /// Another is at it.
    case running
    /// It was done.
    case rested
}
