// Locks that several hold at once: shared ones, and those with permits.

import Foundation
import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct KindsTests {
    @Test func readersShareALockAndKeepAWriterOut() async throws {
        let client = try await Leasehold.connect("memory:")
        let lock = try client.lock("x", shared: true)
        let (one, other) = (try await lock.acquire(), try await lock.acquire())
        #expect(one.fence == other.fence && one.slot == nil)
        #expect(try await client.lock("x").tryAcquire() == nil)
        #expect(try await client.status("x")!.holders.map(\.mode) == [.shared, .shared])
        try await one.release()
        try await other.release()
        let writer = try await client.lock("x").acquire()
        #expect(writer.fence > one.fence)
        #expect(try await lock.tryAcquire() == nil)
        let status = try #require(try await client.status("x"))
        #expect(status.holder?.mode == .exclusive && status.holder?.slot == nil && status.holders.count == 1)
        await client.close()
    }

    @Test func eachPermitHasASlotAndThereIsNoMore() async throws {
        let client = try await Leasehold.connect("memory:")
        let gpu = try client.lock("gpu", permits: 2)
        let (one, other) = (try await gpu.acquire(), try await gpu.acquire())
        #expect(Set([one.slot, other.slot]) == [0, 1])
        #expect(try await gpu.tryAcquire() == nil)
        #expect(try await client.status("gpu")!.holders.map(\.slot) == [0, 1])
        #expect(try await Set(client.status("gpu")!.holders.map(\.fence)) == [one.fence, other.fence])
        #expect(try await client.status("gpu")!.holders.allSatisfy { $0.mode == .counted })
        try await one.release()
        let next = try await gpu.acquire()
        #expect(next.slot == one.slot && next.fence > one.fence)
        await client.close()
    }

    @Test func whatDoesNotGoTogetherIsRefused() async throws {
        let client = try await Leasehold.connect("memory:")
        let lease = try await client.lock("x", permits: 2).acquire()
        #expect(await code { _ = try await client.lock("x", permits: 3).tryAcquire() } == .refused)
        #expect(await code { _ = try await client.lock("x", shared: true).tryAcquire() } == .refused)
        #expect(await code { _ = try await client.lock("x").tryAcquire() } == .refused)
        #expect(await code { _ = try client.lock("y", shared: true, permits: 2) } == .invalid)
        try await lease.release()
        await client.close()
    }

    @Test func severalLocksCanBeSharedAndCounted() async throws {
        let client = try await Leasehold.connect("memory:")
        let shared = try client.locks(["a", "b"], shared: true)
        let (one, other) = (try await shared.acquire(), try await shared.acquire())
        #expect(one.slots.isEmpty && other.isValid)
        try await one.release()
        try await other.release()
        let counted = try client.locks(["a", "b"], permits: 2)
        let (first, second) = (try await counted.acquire(), try await counted.acquire())
        #expect(first.slots == ["a": 0, "b": 0] && second.slots == ["a": 1, "b": 1])
        await client.close()
    }
}
