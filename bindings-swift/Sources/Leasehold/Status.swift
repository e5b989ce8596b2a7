internal import LeaseholdCore

/// A lock that is held or waited for.
public struct Status: Sendable, Hashable {
    /// The lock's name.
    public let name: String
    /// That of the last grant.
    public let fence: UInt64
    /// Who holds it: one, or all who share it.
    public let holders: [Holder]
    /// The labels of those who wait, first come first: of each client the first, and then all
    /// others of the client that asks, though they may be served before.
    public let waiters: [String]

    init(_ native: LeaseholdCore.Status) {
        (name, fence, waiters) = (native.name, native.fence, native.waiters)
        holders = native.holders.map(Holder.init)
    }

    /// Who holds it; of several the first.
    public var holder: Holder? { holders.first }
}

/// Who holds a lock.
public struct Holder: Sendable, Hashable {
    /// Host, process id and the free text of the holder.
    public let label: String
    /// For how long; where it is resting, since it was given back.
    public let heldFor: Duration
    /// When the lease ends unless it is renewed.
    public let freeIn: Duration
    /// How it is held.
    public let mode: Mode
    /// Which of the permits it has.
    public let slot: Int?
    /// Its fencing token: each permit has its own, those who share have the same. 0 for a client of
    /// another library, which has none.
    public let fence: UInt64
    /// Whether it was given back and its lock rests, as by `minHold` or after `once`.
    public let resting: Bool

    init(_ native: LeaseholdCore.Holder) {
        resting = native.resting
        (label, slot, fence) = (native.label, native.slot.map(Int.init), native.fence)
        mode = Mode(rawValue: native.mode) ?? .exclusive
        (heldFor, freeIn) = (.nanoseconds(native.heldFor), .nanoseconds(native.freeIn))
    }
}

/// How a lock is held. The raw values are stable, the same in every language.
public enum Mode: String, Sendable, CaseIterable {
    /// By one.
    case exclusive
    /// By all who share it.
    case shared
    /// By as many as there are permits.
    case counted
}

/// Processes of which each waits for a lock that another one of them holds. It is a deadlock if each
/// of them does one thing at a time; a process with several tasks may go on.
public struct Deadlock: Sendable, Hashable {
    /// Each wait in it, by the name of the lock.
    public let waits: [Wait]

    /// One waits for a lock that another holds.
    public struct Wait: Sendable, Hashable {
        /// The name of the lock.
        public let lock: String
        /// The label of who waits.
        public let waiter: String
        /// The label of who holds it, or of one of those who share it.
        public let holder: String
    }

    init(_ native: LeaseholdCore.Deadlock) {
        waits = native.waits.map { Wait(lock: $0.lock, waiter: $0.waiter, holder: $0.holder) }
    }
}
