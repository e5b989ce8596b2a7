internal import LeaseholdCore

/// A name and options. It can be used again, and by many tasks at once, each of which holds a
/// lease of its own. It is not reentrant: who takes a lock twice waits for itself. Inside of a
/// body the body's own task is told so at once, by ``LeaseError/Code/refused``.
public struct Lock: Sendable {
    /// The lock's name.
    public let name: String
    let native: LeaseholdCore.Lock

    /// Wait for the lock and hold it. Tasks of one actor are served in the order in which they
    /// ask.
    ///
    /// Cancelled at any point, also before, nothing is held.
    ///
    /// - Parameter timeout: How long it is waited for, instead of the lock's `wait`.
    /// - Throws: ``LeaseError/Code/timeout`` when it was busy all the time,
    ///   ``LeaseError/Code/unavailable`` when the backend did not answer,
    ///   ``LeaseError/Code/cancelled`` when the task was cancelled. Nothing is held after an error.
    public func acquire(
        timeout: Duration? = nil, isolation: isolated (any Actor)? = #isolation
    ) async throws(LeaseError) -> Lease {
        let tasks = Inside.tasks
        let answer = try await call {
            native.acquire(timeout: timeout?.nanos, tasks: tasks, cancel: $0, reply: $1)
        }
        guard case .lease(let lease?) = answer else { throw .unexpected }
        return Lease(lease)
    }

    /// Hold the lock if it is free now; `nil` if it is not.
    public func tryAcquire(isolation: isolated (any Actor)? = #isolation) async throws(LeaseError) -> Lease? {
        let answer = try await call { native.tryAcquire(cancel: $0, reply: $1) }
        guard case .lease(let lease) = answer else { throw .unexpected }
        return lease.map(Lease.init)
    }

    /// Do `body` while holding the lock: acquire, body, release.
    ///
    /// The body runs where the caller does, on its actor if it has one, in a task of its own.
    /// That task is cancelled when the lease is lost, or when the caller's is. A body that does
    /// not heed cancellation is waited for: what must not be done without the lock is to be
    /// preceded by ``Lease/check()``.
    ///
    /// - Returns: What the body returned. That a release is not confirmed does not matter.
    /// - Throws: What ``acquire(timeout:isolation:)`` throws; ``LeaseError/Code/lost`` when the
    ///   lease was lost before the body had ended, whatever the body made of that; else what the
    ///   body threw; else ``LeaseError/Code/lost`` when only the release tells that the lease was
    ///   gone.
    public func withLease<Value>(
        isolation: isolated (any Actor)? = #isolation,
        @_implicitSelfCapture _ body: @escaping (Lease) async throws -> Value
    ) async throws -> Value {
        try await acquire().work(succeeds: false, body)
    }
}

extension Lease {
    /// Do the work, give the lease back, and tell how both ended. `succeeds`: that the work did
    /// is said as it is given back.
    func work<Value>(
        isolation: isolated (any Actor)? = #isolation,
        succeeds: Bool,
        _ body: @escaping (Lease) async throws -> Value
    ) async throws -> Value {
        let lease = self
        let result = await lease.watched(Unchecked(body)).value
        // Asked before the release, after which it is not held in any case.
        let loss = lease.whyOver
        if succeeds, case .success = result { lease.native.succeed() }
        let ended = await finish { lease.native.finish(reply: $0) }
        if let loss, loss.code != .notHeld { throw loss }
        let value = try result.get()
        _ = try ended.orThrow()
        return value
    }
}

extension Lease {
    /// Do the work in a task that is cancelled when the lease is lost.
    fileprivate func watched<Value>(
        _ body: Unchecked<(Lease) async throws -> Value>
    ) async -> Unchecked<Result<Value, any Error>> {
        let others = Inside.here
        let task = Task {
            await Inside.run(native, within: others) {
                do {
                    return Unchecked(Result<Value, any Error>.success(try await body.value(self)))
                } catch {
                    return Unchecked(.failure(error))
                }
            }
        }
        let cancel = Cancel()
        native.ended(cancel: cancel, reply: Told { if case .loss(_?) = $0 { task.cancel() } })
        defer { cancel.cancel() }
        return await withTaskCancellationHandler {
            await task.value
        } onCancel: {
            task.cancel()
        }
    }
}

/// What crosses between the caller and its body's task, of which only one runs at a time:
/// the caller waits. A body of an actor goes there by itself.
private struct Unchecked<Value>: @unchecked Sendable {
    let value: Value

    init(_ value: Value) {
        self.value = value
    }
}
