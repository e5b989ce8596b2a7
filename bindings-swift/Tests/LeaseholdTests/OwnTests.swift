// A task that asks again for what its own body holds.

import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct OwnTests {
    @Test func aBodyIsRefusedWhatItHolds() async throws {
        let client = try await Leasehold.connect("memory:")
        let lock = try client.lock("x")
        try await lock.withLease { _ in
            #expect(await code { _ = try await lock.acquire() } == .refused)
            #expect(await code { _ = try await lock.acquire(timeout: .milliseconds(10)) } == .timeout)
            #expect(await code { try await lock.withLease { _ in } } == .refused)
            #expect(await message { _ = try await lock.acquire() }.contains("would wait for itself"))
            #expect(try await lock.tryAcquire() == nil)
            // The body of another lock between them changes nothing.
            try await client.lock("y").withLease { _ in
                #expect(await code { _ = try await lock.acquire() } == .refused)
            }
        }
        #expect(await code { _ = try await client.once("x", every: .seconds(60)) { _ in try await lock.acquire() } } == .refused)
        try await lock.withLease { _ in }
        await client.close()
    }

    @Test func aTaskThatABodyHasBegunWaits() async throws {
        let client = try await Leasehold.connect("memory:")
        let lock = try client.lock("x")
        let begun = try await lock.withLease { _ in
            let begun = Task { try await lock.withLease { $0.fence } }
            try await until { try await client.status("x")?.waiters.count == 1 }
            return begun
        }
        #expect(try await begun.value > 0)
        await client.close()
    }

    @Test func whoeverWaitsBesideABodyWaits() async throws {
        let client = try await Leasehold.connect("memory:")
        let lock = try client.lock("x")
        for _ in 1...100 {
            async let one: Void = lock.withLease { _ in await Task.yield() }
            async let other: Void = lock.withLease { _ in await Task.yield() }
            _ = try await (one, other)
        }
        // One that was taken without a body may be given back by anybody.
        let held = try await lock.acquire()
        let giver = Task {
            try await until { try await client.status("x")?.waiters.count == 1 }
            try await held.release()
        }
        try await lock.acquire().release()
        try await giver.value
        await client.close()
    }
}
