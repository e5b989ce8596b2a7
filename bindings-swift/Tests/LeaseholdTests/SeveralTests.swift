// Lock-delays, renewals for another ttl, and several locks at once.

import Foundation
import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct SeveralTests {
    @Test func severalAreHeldTogether() async throws {
        let client = try await Leasehold.connect("memory:")
        let locks = try client.locks(["b", "a"], ttl: .seconds(10))
        let sum = try await locks.withLeases { leases in
            #expect(leases.names == ["a", "b"] && leases.isValid && leases.keys.isEmpty)
            let other = try await client.locks(["a", "c"]).tryAcquire()
            #expect(other == nil)
            return leases.fences["a"]! + leases.fences["b"]!
        }
        #expect(sum > 0)
        #expect(try await client.list().isEmpty)
        for names in [[], ["a", "a"], [""]] {
            #expect(throws: LeaseError.self) { _ = try client.locks(names) }
        }
        await client.close()
    }

    @Test func theLossOfOneIsTheLossOfAll() async throws {
        let client = try await Leasehold.connect("memory:")
        let leases = try await client.locks(["a", "b"]).acquire()
        try await client.breakLock("b")
        #expect(await leases.lost() == .gone)
        #expect(leases.lostName == "b" && !leases.isValid && leases.loss == .gone)
        #expect(await code { try leases.check() } == .lost)
        #expect(await code { try await leases.release() } == .lost)
        await client.close()
    }

    @Test func aLeaseIsRenewedForAnotherTtlAndADelayIsForOthers() async throws {
        let client = try await Leasehold.connect("memory:")
        let lock = try client.lock("x", ttl: .seconds(10), delay: .seconds(600), autoRenew: false)
        let lease = try await lock.acquire()
        #expect(lease.ttl == .seconds(10) && lease.remaining <= .seconds(10))
        #expect(try await client.status("x")!.holder!.freeIn > .seconds(600))
        try await lease.renew(for: .seconds(100))
        #expect(lease.ttl == .seconds(100) && lease.remaining > .seconds(90))
        try await lease.renew(for: .seconds(5))
        #expect(lease.remaining <= .seconds(5))
        #expect(await code { try await lease.renew(for: .zero) } == .invalid)
        try await lease.release()
        #expect(try await lock.tryAcquire() != nil)
        await client.close()
    }
}
