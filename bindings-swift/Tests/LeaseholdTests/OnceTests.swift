// Work that is done once per interval, and locks that rest.

import Foundation
import Leasehold
import Testing

private struct NoPaper: Error {}

@Suite(.timeLimit(.minutes(2))) struct OnceTests {
    @Test func workIsDoneOnceAndThenSkipped() async throws {
        let client = try await Leasehold.connect("memory:")
        guard case .ran(7) = try await client.once("nightly", every: .seconds(3600), { _ in 7 }) else {
            Issue.record("it was skipped")
            return
        }
        let again = try await client.once("nightly", every: .seconds(3600)) { _ in 8 }
        guard case .skipped(.rested, let nextIn) = again else {
            Issue.record("it ran again")
            return
        }
        #expect(nextIn <= .seconds(3420) && nextIn > .seconds(3360))
        #expect(try await client.status("nightly")?.holder?.resting == true)
        await client.close()
    }

    @Test func whatThrowsIsFreeAtOnce() async throws {
        let client = try await Leasehold.connect("memory:")
        await #expect(throws: NoPaper.self) {
            _ = try await client.once("nightly", every: .seconds(3600)) { _ in throw NoPaper() }
        }
        #expect(try await client.status("nightly") == nil)
        await client.close()
    }

    @Test func whatRunsIsSkippedAndALossIsAFailure() async throws {
        let client = try await Leasehold.connect("memory:")
        await #expect(throws: LeaseError.self) {
            _ = try await client.once("nightly", every: .seconds(3600)) { _ in
                guard case .skipped(.running, _) = try await client.once("nightly", every: .seconds(60), { _ in }) else {
                    Issue.record("it runs twice")
                    return
                }
                try await client.breakLock("nightly")
            }
        }
        #expect(try await client.status("nightly") == nil)
        await client.close()
    }

    @Test func eachSlotIsRunOnce() async throws {
        let client = try await Leasehold.connect("memory:")
        for (day, isNew) in [("2026-11-27", true), ("2026-11-28", true), ("2026-11-27", false)] {
            let done = try await client.once("nightly", slot: day) { $0.name }
            if case .ran(let name) = done { #expect(isNew && name == "nightly@\(day)") } else { #expect(!isNew) }
        }
        await client.close()
    }

    @Test func aLockRestsUntilItsMinHoldIsOver() async throws {
        let client = try await Leasehold.connect("memory:")
        let fence = try await client.lock("x", minHold: .seconds(2)).withLease { $0.fence }
        #expect(try await client.lock("x").tryAcquire() == nil)
        #expect(try await client.status("x")?.holder?.resting == true)
        #expect(try await client.lock("x", wait: .seconds(10)).acquire().fence > fence)
        #expect(throws: LeaseError.self) { try client.lock("x", maxHold: .seconds(1), minHold: .seconds(2)) }
        await client.close()
    }
}
