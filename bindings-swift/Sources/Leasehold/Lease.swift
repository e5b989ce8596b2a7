internal import LeaseholdCore

/// A lock that is held: a fence, a deadline, and word when it is lost.
///
/// It is renewed in the background until it is released or lost, or until there is no reference
/// to it: then it is given back in the background. Keep it for as long as you rely on it.
public final class Lease: Sendable {
    let native: LeaseholdCore.Lease
    /// The lock's name.
    public let name: String
    /// The fencing token: larger than that of every earlier holder of this name. Send it along
    /// with every operation on what the lock protects, reads included, and let that refuse
    /// smaller ones than it has seen.
    public let fence: UInt64

    init(_ native: LeaseholdCore.Lease) {
        self.native = native
        (name, fence) = (native.name(), native.fence())
    }

    /// With etcd, of a lock that is held alone: the key whose create_revision is the fence.
    public var key: String? { native.key() }

    /// With permits: which of them it is, from 0; nobody else has it meanwhile.
    public var slot: Int? { native.slot().map(Int.init) }

    /// The ttl that it is renewed by.
    public var ttl: Duration { .nanoseconds(native.ttl()) }

    /// For how long it stays valid without another renewal.
    public var remaining: Duration { .nanoseconds(native.remaining()) }

    /// Whether it is held at this instant, by the clock alone: right even just after the process
    /// was stopped.
    public var isValid: Bool { native.isValid() }

    /// Why it was lost, if it was.
    public var loss: Loss? { native.loss().map(Loss.init(code:)) }

    /// Wait until it is lost, and why. `nil` when it was released, or when the task that waits
    /// is cancelled.
    ///
    /// When renewals fail this comes 10 % of the ttl before the end, so that there is time to
    /// stop.
    public func lost(isolation: isolated (any Actor)? = #isolation) async -> Loss? {
        let answer = try? await call { native.ended(cancel: $0, reply: $1) }
        guard case .loss(let code?) = answer else { return nil }
        return Loss(code: code)
    }

    /// Throws ``LeaseError/Code/lost`` if it is not held at this instant, or
    /// ``LeaseError/Code/notHeld`` if it was released. Call it before what must not be done twice.
    public func check() throws(LeaseError) {
        if let error = whyOver { throw error }
    }

    var whyOver: LeaseError? { native.check().map(LeaseError.init) }

    /// With PostgreSQL, MySQL and MariaDB: an SQL statement without parameters. Run it in your own
    /// transaction, in the database where the lock is. It fails if this lease does not hold the lock
    /// any more: roll back then. If it does not fail, nobody takes the lock over until that
    /// transaction ends, whatever the clocks do. Commit, then release. Does no I/O.
    ///
    /// - Throws: ``LeaseError/Code/lost`` and ``LeaseError/Code/notHeld`` when it is over;
    ///   ``LeaseError/Code/unsupported`` on other backends, and with MySQL for a lock that is shared
    ///   or has permits.
    public func `guard`() throws(LeaseError) -> String {
        switch native.guardStatement() {
        case .by(let statement): return statement
        case .failed(let failure): throw LeaseError(failure)
        }
    }

    /// Renew now, by a full ttl. Needed only with `autoRenew: false`; then also for another ttl,
    /// which the lease has from then on. A shorter one moves the end back before the request is
    /// sent. Where one had no answer it may still arrive, and longer ones buy no more than that:
    /// ``remaining`` tells.
    ///
    /// - Parameter ttl: From 100 ms to a day; that of the lease unless set.
    /// - Throws: ``LeaseError/Code/lost`` and ``LeaseError/Code/notHeld`` when it is over;
    ///   ``LeaseError/Code/unavailable`` when the backend did not answer, and then it is still
    ///   held until its deadline.
    public func renew(
        for ttl: Duration? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) {
        _ = try await call { native.renew(ttl: ttl?.nanos, cancel: $0, reply: $1) }
    }

    /// Hand it to another process: a text for ``Client/adopt(_:name:isolation:)`` there, which goes
    /// on with the same fence. It is for one use, and a secret: whoever has it can take the lease.
    /// The lease is over here: releasing it does nothing more.
    ///
    /// - Parameter valid: How long, from 100 ms to a day; as long as the ttl unless set. If nobody
    ///   adopts it by then, the lock is free.
    /// - Throws: ``LeaseError/Code/unsupported`` on a quorum and ``LeaseError/Code/invalid`` for a
    ///   time that cannot be: it is still held then. ``LeaseError/Code/lost`` and
    ///   ``LeaseError/Code/notHeld`` when it is over. After any other error there is no ticket, and
    ///   the lease is given back in the background; so it is when the task is cancelled.
    public func intoTicket(
        valid: Duration? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> String {
        let answer = try await call { native.intoTicket(valid: valid?.nanos, cancel: $0, reply: $1) }
        guard case .ticket(let text) = answer else { throw .unexpected }
        return text
    }

    /// Give it back; all calls wait for the first and get its answer. It goes to its end though
    /// the task is cancelled.
    ///
    /// - Throws: ``LeaseError/Code/lost`` when it was not held to the end, which may be known only
    ///   now; ``LeaseError/Code/unavailable`` when the backend did not confirm: then it was given
    ///   back in time, and the release is repeated in the background until the ttl has passed.
    public func release(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) {
        _ = try await finish { native.release(reply: $0) }.orThrow()
    }
}

/// Why a lease was lost. The raw values are stable, the same in every language.
public enum Loss: String, Sendable, CaseIterable {
    /// It could not be renewed in time.
    case expired
    /// The backend says that it is gone: somebody broke the lock, or its data was lost.
    case gone
    /// It was held for as long as `maxHold` allows.
    case maxHold = "max_hold"
    /// The client was closed.
    case closed

    init(code: String) { self = Loss(rawValue: code) ?? .gone }
}
