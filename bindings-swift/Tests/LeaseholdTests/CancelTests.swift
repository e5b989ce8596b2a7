// Calls that are given up.

import Foundation
import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct CancelTests {
    @Test func fiveHundredAtAnyMomentLeaveNothing() async throws {
        let (place, name) = (try await Place(), newName())
        var (held, given) = (0, 0)
        for _ in 0..<50 {
            await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        let task = Task { try await place.client.lock(name).acquire().release() }
                        try? await Task.sleep(for: .microseconds(Int.random(in: 0..<4_000)))
                        task.cancel()
                        return await code { try await task.value } == nil
                    }
                }
                for await wasHeld in group {
                    if wasHeld { held += 1 } else { given += 1 }
                }
            }
            try await expectFree(place.other, name)
        }
        #expect(held > 0 && given > 0, "\(held) were held, \(given) were given up")
        try await until { try await place.other.status(name)?.waiters.isEmpty ?? true }
    }

    @Test func aTaskThatIsCancelledBeforeTakesNothing() async throws {
        let (place, name) = (try await Place(), newName())
        let task = Task { () -> [LeaseError.Code?] in
            withUnsafeCurrentTask { $0?.cancel() }
            return [
                await code { _ = try await place.client.lock(name).acquire() },
                await code { _ = try await place.client.lock(name).tryAcquire() },
                await code { try await place.client.lock(name).withLease { _ in _ = Issue.record("it began") } },
                await code { _ = try await place.client.list() },
                await code { _ = try await Leasehold.connect(Redis.shared.url) },
            ]
        }
        #expect(await task.value.allSatisfy { $0 == .cancelled })
        #expect(try await place.other.status(name) == nil)
    }

    @Test func aWaitThatIsCancelledLeavesTheLine() async throws {
        let (place, name) = (try await Place(), newName())
        let held = try await place.other.lock(name).acquire()
        let task = Task { try await place.client.lock(name).acquire() }
        try await until { try await place.other.status(name)?.waiters.count == 1 }
        let began = ContinuousClock.now
        task.cancel()
        #expect(await code { _ = try await task.value } == .cancelled)
        #expect(ContinuousClock.now - began < .seconds(5))
        try await until { try await place.other.status(name)?.waiters == [] }
        #expect(held.isValid)
        try await held.release()
        try await expectFree(place.other, name)
    }

    @Test func aWaitForALossIsCancelled() async throws {
        let (place, name) = (try await Place(), newName())
        let lease = try await place.client.lock(name).acquire()
        let task = Task { await lease.lost() }
        try await Task.sleep(for: .milliseconds(20))
        task.cancel()
        #expect(await task.value == nil)
        #expect(lease.isValid)
        try await lease.release()
    }

    @Test func aReleaseInACancelledTaskIsDone() async throws {
        let (place, name) = (try await Place(), newName())
        let lease = try await place.client.lock(name).acquire()
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await lease.release()
        }
        try await task.value
        #expect(!lease.isValid)
        try await expectFree(place.other, name)
    }
}
