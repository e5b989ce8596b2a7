/// Several names and options, otherwise as a ``Lock``.
public struct Locks: Sendable {
    let lock: Lock

    /// Wait for all of them and hold them, or none; see ``Lock/acquire(timeout:isolation:)``.
    public func acquire(
        timeout: Duration? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> Leases {
        Leases(try await lock.acquire(timeout: timeout, isolation: isolation))
    }

    /// Hold all of them if they are free now; `nil` if one is not.
    public func tryAcquire(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) -> Leases? {
        try await lock.tryAcquire(isolation: isolation).map(Leases.init)
    }

    /// Do `body` while holding all of them; see ``Lock/withLease(isolation:_:)``. The loss of one
    /// is the loss of all.
    public func withLeases<Value>(
        isolation: isolated (any Actor)? = #isolation,
        @_implicitSelfCapture _ body: @escaping (Leases) async throws -> Value
    ) async throws -> Value {
        try await lock.withLease(isolation: isolation) { try await body(Leases($0)) }
    }
}

/// Several locks that are held together: a fence for each name, and one end. When one is lost all
/// are. Otherwise as a ``Lease``.
public final class Leases: Sendable {
    private let lease: Lease

    init(_ lease: Lease) {
        self.lease = lease
    }

    /// The names, in the order in which they were taken.
    public var names: [String] { lease.native.names() }

    /// The ``Lease/fence`` of each name.
    public var fences: [String: UInt64] { lease.native.fences() }

    /// The ``Lease/key`` of each name, with etcd.
    public var keys: [String: String] { lease.native.keys() }

    /// The ``Lease/slot`` of each name, with permits.
    public var slots: [String: Int] { lease.native.slots().mapValues(Int.init) }

    /// The ttl that they are renewed by.
    public var ttl: Duration { lease.ttl }

    /// For how long all of them stay valid without another renewal.
    public var remaining: Duration { lease.remaining }

    /// Whether all are held at this instant.
    public var isValid: Bool { lease.isValid }

    /// Why they were lost, if they were.
    public var loss: Loss? { lease.loss }

    /// Which was lost first, if they were lost.
    public var lostName: String? { lease.native.lostName() }

    /// Wait until one is lost; see ``Lease/lost(isolation:)``.
    public func lost(isolation: isolated (any Actor)? = #isolation) async -> Loss? {
        await lease.lost(isolation: isolation)
    }

    /// See ``Lease/check()``. The error names the lock.
    public func check() throws(LeaseError) { try lease.check() }

    /// One statement for all of them; see ``Lease/guard()``.
    public func `guard`() throws(LeaseError) -> String { try lease.guard() }

    /// Renew all; see ``Lease/renew(for:isolation:)``.
    public func renew(
        for ttl: Duration? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) {
        try await lease.renew(for: ttl, isolation: isolation)
    }

    /// Throws ``LeaseError/Code/unsupported``: locks that are held together cannot be handed on.
    public func intoTicket(
        valid: Duration? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> String {
        try await lease.intoTicket(valid: valid, isolation: isolation)
    }

    /// Give all back; see ``Lease/release(isolation:)``.
    public func release(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) {
        try await lease.release(isolation: isolation)
    }
}
