internal import LeaseholdCore

/// Something that happened to a lease. Its ``description`` is a line for a log.
public struct LeaseEvent: Sendable, Hashable, CustomStringConvertible {
    /// What can happen. The raw values are stable, the same in every language.
    public enum What: String, Sendable, CaseIterable {
        /// It is held.
        case acquired
        /// It is held by a ticket that another process gave.
        case adopted
        /// A ticket holds it, and whoever adopts that.
        case handedOn = "handed_on"
        /// A renewal failed, the first after one that did not. It is repeated until the lease is
        /// lost.
        case renewalFailed = "renewal_failed"
        /// It is not held any more, and its holder did not give it back.
        case lost
        /// It was given back.
        case released
    }

    /// The name of its lock.
    public let lock: String
    /// Its fencing token.
    public let fence: UInt64
    /// What happened.
    public let what: What
    /// The raw value of the ``Loss``, or of the ``LeaseError/Code`` of the renewal.
    public let reason: String?
    /// A line for a log.
    public let description: String

    init?(_ event: LeaseholdCore.Event) {
        guard let what = What(rawValue: event.what) else { return nil }
        (lock, fence, self.what) = (event.lock, event.fence, what)
        (reason, description) = (event.reason, event.text)
    }
}
