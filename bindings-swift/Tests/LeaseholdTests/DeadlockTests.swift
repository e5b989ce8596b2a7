// Who waits for whom in a circle, seen from two clients of one server.

import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct DeadlockTests {
    @Test func twoClientsThatWaitForEachOtherAreACircle() async throws {
        let (a, b) = ("a/" + newName(), "b/" + newName())
        let one = try await Leasehold.connect(Redis.shared.url, ttl: long, label: "one")
        let other = try await Leasehold.connect(Redis.shared.url, ttl: long, label: "other")
        let held = try await one.lock(a).acquire()
        let otherHeld = try await other.lock(b).acquire()
        let waiting = Task { try await one.lock(b).acquire() }
        let otherWaiting = Task { try await other.lock(a).acquire() }
        // They are one process, and tests beside this one are of it, too.
        func waits() async throws -> [Deadlock.Wait] {
            try await other.deadlocks().flatMap(\.waits).filter { [a, b].contains($0.lock) }
        }
        try await until { try await waits().count == 2 }
        let waits = try await one.deadlocks().flatMap(\.waits).filter { [a, b].contains($0.lock) }
        #expect(waits.map(\.lock) == [a, b])
        #expect(waits[0].waiter.hasSuffix(" other") && waits[0].holder.hasSuffix(" one"))
        #expect(waits[1].waiter.hasSuffix(" one") && waits[1].holder.hasSuffix(" other"))
        try await held.release()
        try await otherWaiting.value.release()
        try await otherHeld.release()
        try await waiting.value.release()
        await one.close()
        await other.close()
    }
}
