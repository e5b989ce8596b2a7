internal import LeaseholdCore

/// An election: who holds the lock of this name leads, and shows a value. It can be used again,
/// and by many tasks at once.
public struct Election: Sendable {
    /// The election's name.
    public let name: String
    let native: LeaseholdCore.Election

    /// What is taken to campaign.
    private var lock: Lock { Lock(name: name, native: native.lock()) }

    /// Wait until this one leads; see ``Lock/acquire(timeout:isolation:)``.
    public func campaign(
        timeout: Duration? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> Term {
        Term(try await lock.acquire(timeout: timeout, isolation: isolation))
    }

    /// Campaign, do `body` while leading, and campaign again after a loss; when it has ended under
    /// its term, resign and answer what it came to.
    ///
    /// The body runs as in ``Lock/withLease(isolation:_:)``: its task is cancelled when the term is
    /// lost, and the next campaign begins when it has ended.
    ///
    /// - Returns: What the body returned under its term.
    /// - Throws: What ``campaign(timeout:isolation:)`` throws, so ``LeaseError/Code/unavailable``
    ///   when the backend is away for `wait`, or 10 s; else what the body threw under its term.
    public func lead<Value>(
        isolation: isolated (any Actor)? = #isolation,
        @_implicitSelfCapture _ body: @escaping (Term) async throws -> Value
    ) async throws -> Value {
        while true {
            var term: Term?
            do {
                return try await lock.withLease(isolation: isolation) {
                    let began = Term($0)
                    term = began
                    return try await body(began)
                }
            } catch let error as LeaseError where error.code == .lost {
                // That of another lock is the body's own affair.
                guard term?.lease.loss != nil else { throw error }
            }
        }
    }

    /// Who leads now; `nil` when nobody does.
    ///
    /// - Throws: ``LeaseError/Code/unavailable`` when the backend cannot be asked;
    ///   ``LeaseError/Code/refused`` when the lock of this name is shared or has permits.
    public func leader(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) -> Leader? {
        try await call { native.leader(cancel: $0, reply: $1) }.asLeader()
    }

    /// Who leads, one after the other: the present leader first, then each change, of the value
    /// too, and `nil` when nobody leads. It costs the leader nothing.
    public func observe() -> Leaders { Leaders(native.observe()) }
}

/// A term of a leader: a lease that shows a value. Without a reference to it, it resigns.
public final class Term: Sendable {
    /// The lease by which it leads.
    public let lease: Lease

    init(_ lease: Lease) {
        self.lease = lease
    }

    /// Its number, larger than that of every earlier term; it is the fence.
    public var number: UInt64 { lease.fence }

    /// Show another value from now on. The term and its number stay.
    ///
    /// - Throws: ``LeaseError/Code/lost`` when the term is over; ``LeaseError/Code/unavailable`` when
    ///   the backend did not answer: others see this value or the one before, and this one may even
    ///   come after a later one; proclaim again.
    public func proclaim(
        _ value: String, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) {
        _ = try await call { lease.native.proclaim(value: value, cancel: $0, reply: $1) }
    }

    /// End the term, and hand the lead to the next in line; see ``Lease/release(isolation:)``.
    public func resign(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) {
        try await lease.release(isolation: isolation)
    }
}

/// Who leads.
public struct Leader: Sendable, Hashable {
    /// What it shows; empty if it has shown nothing.
    public let value: String
    /// The number of its term, which is the fence of its lease.
    public let term: UInt64
    /// Its host and process id, and the value.
    public let label: String
    /// For how long it has led.
    public let heldFor: Duration
    /// When its term ends unless it is renewed.
    public let freeIn: Duration

    init(_ native: LeaseholdCore.Leader) {
        (value, term, label) = (native.value, native.term, native.label)
        (heldFor, freeIn) = (.nanoseconds(native.heldFor), .nanoseconds(native.freeIn))
    }
}

/// Who leads, one after the other, and `nil` when nobody does. The backend is asked every second.
/// An outage throws ``LeaseError/Code/unavailable`` once; the next call of `next()` tells who leads
/// when the backend answers again.
public struct Leaders: AsyncSequence, AsyncIteratorProtocol, Sendable {
    private let native: LeaseholdCore.Leaders

    init(_ native: LeaseholdCore.Leaders) {
        self.native = native
    }

    /// Itself: each change goes to one of those who wait for it.
    public func makeAsyncIterator() -> Leaders { self }

    /// Wait for the next. The outer optional is never `nil`.
    public func next() async throws -> Leader?? {
        .some(try await call { native.next(cancel: $0, reply: $1) }.asLeader())
    }
}

extension Answer {
    fileprivate func asLeader() throws(LeaseError) -> Leader? {
        guard case .leader(let leader) = self else { throw .unexpected }
        return leader.map(Leader.init)
    }
}
