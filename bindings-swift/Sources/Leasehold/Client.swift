internal import LeaseholdCore

/// Open the backend that the URL names, now: `sqlite:PATH` for the processes of one machine
/// (`sqlite:`, which is also meant by no URL, is a file in the user's state directory),
/// `redis://HOST`, `redlock://HOST,HOST,HOST`, `etcd://HOST,HOST,HOST`, or `memory:` inside
/// this client only.
///
/// ```swift
/// let client = try await Leasehold.connect("redis://127.0.0.1")
/// ```
///
/// - Parameters:
///   - url: The backend, with options behind a `?`, which win over those here.
///   - ttl: That of locks that set none; see ``Client/lock(_:ttl:delay:wait:maxHold:minHold:autoRenew:shared:permits:label:)``.
///   - delay: That of locks that set none.
///   - wait: How long a busy lock is waited for; without end unless set.
///   - maxHold: The longest a lease is held; unbounded unless set.
///   - label: What others see of the holder, after its host and process id.
/// - Throws: ``LeaseError/Code/invalid`` for what cannot be used, ``LeaseError/Code/unavailable``,
///   or ``LeaseError/Code/refused``.
public func connect(
    _ url: String = "sqlite:",
    ttl: Duration? = nil,
    delay: Duration? = nil,
    wait: Duration? = nil,
    maxHold: Duration? = nil,
    label: String? = nil,
    isolation: isolated (any Actor)? = #isolation
) async throws(LeaseError) -> Client {
    let settings = Settings(ttl: ttl, delay: delay, wait: wait, maxHold: maxHold, label: label)
    let answer = try await call { open(url: url, settings: settings, cancel: $0, reply: $1) }
    guard case .client(let native) = answer else { throw .unexpected }
    return Client(native)
}

/// An open connection to one backend, with a thread of its own for renewals.
///
/// ``close()`` it before the process ends: what is held then is given back at once, and not
/// at the end of its ttl.
public final class Client: Sendable {
    private let native: LeaseholdCore.Client

    init(_ native: LeaseholdCore.Client) {
        self.native = native
    }

    /// The lock of this name. Nothing is asked.
    ///
    /// - Parameters:
    ///   - name: 1 to 1024 bytes without NUL.
    ///   - ttl: How long a lease outlives its last renewal, from 100 ms to a day; 10 s unless
    ///     set here or for the client. It bounds how long others wait for a holder that
    ///     vanished, not how long one can hold.
    ///   - delay: A lock-delay, for resources that cannot check a fence: how long the lock stays
    ///     taken after the end of a lease that was not released; none unless set.
    ///   - wait: How long a busy lock is waited for; without end unless set.
    ///   - maxHold: The longest a lease is held, however healthy its renewals.
    ///   - minHold: The shortest that the lock stays taken, up to 400 days: when the lease is
    ///     released before, the lock rests until then, and is nobody's.
    ///   - autoRenew: Whether a lease is renewed in the background; yes unless set.
    ///   - shared: Share it: any number of leases that share a lock are held at once, with one
    ///     fence, and no other one beside them.
    ///   - permits: Let as many hold it at once, from 1 to 1000, each with a ``Lease/slot`` of its
    ///     own. All who use the name say the same number.
    ///   - label: What others see of the holder, after its host and process id.
    /// - Throws: ``LeaseError/Code/invalid`` for a name or options that cannot be used.
    public func lock(
        _ name: String,
        ttl: Duration? = nil,
        delay: Duration? = nil,
        wait: Duration? = nil,
        maxHold: Duration? = nil,
        minHold: Duration? = nil,
        autoRenew: Bool? = nil,
        shared: Bool? = nil,
        permits: Int? = nil,
        label: String? = nil
    ) throws(LeaseError) -> Lock {
        let settings = Settings(
            ttl: ttl, delay: delay, wait: wait, maxHold: maxHold, autoRenew: autoRenew,
            shared: shared, permits: permits, label: label, minHold: minHold)
        let lock = native.lock(names: [name], settings: settings)
        if let failure = lock.check() { throw LeaseError(failure) }
        return Lock(name: name, native: lock)
    }

    /// The locks of these names, to be taken together, all or nothing, in the order of their
    /// names: groups never wait for each other in a circle. Nothing is asked.
    ///
    /// - Parameters:
    ///   - names: One at least, and none twice.
    ///   - ttl: As for ``lock(_:ttl:delay:wait:maxHold:minHold:autoRenew:shared:permits:label:)``, and so all others.
    ///   - delay: How long each stays taken after an end that is no release.
    ///   - wait: How long all of them are waited for, together.
    ///   - maxHold: The longest a lease is held.
    ///   - minHold: The shortest that each stays taken, from when all are held.
    ///   - autoRenew: Whether the leases are renewed in the background.
    ///   - shared: Share each of them.
    ///   - permits: Let as many hold each of them at once.
    ///   - label: What others see of the holder.
    /// - Throws: ``LeaseError/Code/invalid`` for names or options that cannot be used.
    public func locks(
        _ names: [String],
        ttl: Duration? = nil,
        delay: Duration? = nil,
        wait: Duration? = nil,
        maxHold: Duration? = nil,
        minHold: Duration? = nil,
        autoRenew: Bool? = nil,
        shared: Bool? = nil,
        permits: Int? = nil,
        label: String? = nil
    ) throws(LeaseError) -> Locks {
        let settings = Settings(
            ttl: ttl, delay: delay, wait: wait, maxHold: maxHold, autoRenew: autoRenew,
            shared: shared, permits: permits, label: label, minHold: minHold)
        let lock = native.lock(names: names, settings: settings)
        if let failure = lock.check() { throw LeaseError(failure) }
        return Locks(lock: Lock(name: names[0], native: lock))
    }

    /// The election of this name, which is led by who holds the lock of the same name. Nothing
    /// is asked.
    ///
    /// - Parameters:
    ///   - name: 1 to 1024 bytes without NUL.
    ///   - value: What others see of the leader, such as its address: up to 256 bytes without
    ///     control characters; nothing unless set.
    ///   - ttl: How long others wait for a leader that vanished.
    ///   - delay: How long nobody leads after the end of a term that was not given back; who led
    ///     before is named until then.
    ///   - wait: How long a campaign lasts; without end unless set.
    ///   - maxHold: The longest term.
    /// - Throws: ``LeaseError/Code/invalid`` for a name or options that cannot be used.
    public func election(
        _ name: String,
        value: String? = nil,
        ttl: Duration? = nil,
        delay: Duration? = nil,
        wait: Duration? = nil,
        maxHold: Duration? = nil
    ) throws(LeaseError) -> Election {
        let settings = Settings(ttl: ttl, delay: delay, wait: wait, maxHold: maxHold, value: value)
        let election = native.election(name: name, settings: settings)
        if let failure = election.check() { throw LeaseError(failure) }
        return Election(name: name, native: election)
    }

    /// Do work once per interval, or once for each slot, by whichever process comes first.
    ///
    /// The body runs as that of ``Lock/withLease(isolation:_:)``. It has succeeded unless it
    /// throws: then the lock is free at once, as it is after a loss. After a success it rests,
    /// by the server's time, and whoever comes while another works or it rests skips.
    ///
    /// - Parameters:
    ///   - name: 1 to 1024 bytes without NUL.
    ///   - every: The interval, up to 400 days. The lock rests for 95 % of it. With a slot: how
    ///     long that is remembered; 7 days unless set.
    ///   - slot: Once for each such text instead, as `2026-11-27`. Each is a lock of its own,
    ///     `NAME@SLOT`.
    ///   - ttl: As for a lock.
    ///   - delay: As for a lock.
    ///   - maxHold: As for a lock; what ran for so long has failed.
    ///   - label: As for a lock.
    /// - Throws: What ``Lock/withLease(isolation:_:)`` throws, but never
    ///   ``LeaseError/Code/timeout``. A backend that does not answer is
    ///   ``LeaseError/Code/unavailable`` and never a skip.
    public func once<Value>(
        _ name: String,
        every: Duration? = nil,
        slot: String? = nil,
        ttl: Duration? = nil,
        delay: Duration? = nil,
        maxHold: Duration? = nil,
        label: String? = nil,
        isolation: isolated (any Actor)? = #isolation,
        @_implicitSelfCapture _ body: @escaping (Lease) async throws -> Value
    ) async throws -> Once<Value> {
        let settings = Settings(ttl: ttl, delay: delay, wait: nil, maxHold: maxHold, label: label)
        let once = native.once(name: name, every: every?.nanos, slot: slot, settings: settings)
        switch try await call({ once.begin(cancel: $0, reply: $1) }) {
        case .lease(let lease?):
            return .ran(try await Lease(lease).work(succeeds: true, body))
        case .skipped(let why, let nextIn):
            return .skipped(why: Skip(rawValue: why) ?? .running, nextIn: .nanoseconds(nextIn))
        default:
            throw LeaseError.unexpected
        }
    }

    /// The locks that are held or waited for, by name.
    public func list(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) -> [Status] {
        let answer = try await call { native.list(cancel: $0, reply: $1) }
        guard case .statuses(let all) = answer else { throw .unexpected }
        return all.map(Status.init)
    }

    /// Who holds and who waits for one lock; `nil` when nobody does.
    public func status(
        _ name: String, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> Status? {
        let answer = try await call { native.status(name: name, cancel: $0, reply: $1) }
        guard case .statuses(let all) = answer else { throw .unexpected }
        return all.first.map(Status.init)
    }

    /// The circles in which processes wait for each other's locks, from one look at all of them.
    /// Not all is seen: of another client only the first that waits for each lock, and only what
    /// waits for a lock of another client.
    public func deadlocks(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) -> [Deadlock] {
        let answer = try await call { native.deadlocks(cancel: $0, reply: $1) }
        guard case .deadlocks(let all) = answer else { throw .unexpected }
        return all.map(Deadlock.init)
    }

    /// Take the lock from whoever holds it; answers whether somebody did. Until that one's work
    /// has stopped, two may be at work, and only their fences tell them apart.
    @discardableResult
    public func breakLock(
        _ name: String, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> Bool {
        let answer = try await call { native.breakLock(name: name, cancel: $0, reply: $1) }
        guard case .flag(let wasHeld) = answer else { throw .unexpected }
        return wasHeld
    }

    /// Go on with a lease that another process has handed on by
    /// ``Lease/intoTicket(valid:isolation:)``: with its fence, ttl and other options. It never
    /// takes the lock anew.
    ///
    /// - Parameters:
    ///   - ticket: The text.
    ///   - name: The lock that it has to be of, if that is to be checked.
    /// - Throws: ``LeaseError/Code/invalid`` for a text that is no ticket,
    ///   ``LeaseError/Code/refused`` for a ticket of another lock or kind of backend, which stays
    ///   good, and ``LeaseError/Code/lost`` for one that was used, or whose time is over.
    public func adopt(
        _ ticket: String, name: String? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> Lease {
        let answer = try await call {
            native.adopt(ticket: ticket, name: name, cancel: $0, reply: $1)
        }
        guard case .lease(let lease?) = answer else { throw .unexpected }
        return Lease(lease)
    }

    /// What happens to this client's leases from now on, for logs, until the client is closed or
    /// the task that reads is cancelled. One task reads; one that is more than 1024 behind misses
    /// the oldest.
    public func events() -> AsyncStream<LeaseEvent> {
        let events = native.events()
        return AsyncStream {
            let answer = try? await call { events.next(cancel: $0, reply: $1) }
            guard case .event(let event?) = answer else { return nil }
            return LeaseEvent(event)
        }
    }

    /// The backend as messages name it, without passwords.
    public var backend: String { native.backend() }

    /// What the server that answers now promises less than its backend does; for people to read.
    public func caveats() -> [String] { native.caveats() }

    /// Give back everything and end, the client's thread and connections too: waiting calls throw
    /// ``LeaseError/Code/closed``, leases are lost. It waits until the backend has confirmed that, or
    /// every lease has expired: where a server hangs, as long as the longest ttl. It goes to its end
    /// though the task is cancelled.
    public func close(isolation: isolated (any Actor)? = #isolation) async {
        _ = await finish { native.shutdown(reply: $0) }
    }
}
