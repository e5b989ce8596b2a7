// Taking, holding, losing and giving back.

import Foundation
import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct LeaseTests {
    @Test func aLeaseHasAFenceADeadlineAndAnEnd() async throws {
        let (place, name) = (try await Place(), newName())
        let lease = try await place.client.lock(name, ttl: .seconds(10), label: "me").acquire()
        #expect(lease.name == name && lease.ttl == .seconds(10) && lease.key == nil)
        #expect(lease.isValid && lease.loss == nil)
        #expect(lease.remaining > .seconds(5) && lease.remaining < .seconds(10))
        try lease.check()
        try await lease.renew()
        let status = try #require(try await place.other.status(name))
        let holder = try #require(status.holder)
        #expect(status.fence == lease.fence && status.waiters == [])
        #expect(holder.label.hasSuffix(":\(ProcessInfo.processInfo.processIdentifier) me"))
        #expect(holder.heldFor >= .zero && holder.freeIn > .seconds(5))
        #expect(try await place.other.list().contains { $0.name == name })
        #expect(try await place.other.lock(name).tryAcquire() == nil)
        #expect(await code { _ = try await place.other.lock(name).acquire(timeout: .milliseconds(30)) } == .timeout)
        async let ended = lease.lost()
        try await lease.release()
        #expect(await ended == nil)
        #expect(!lease.isValid && lease.remaining == .zero && lease.loss == nil)
        #expect(await code { try lease.check() } == .notHeld)
        #expect(await code { try await lease.renew() } == .notHeld)
        try await lease.release()
        let next = try await place.other.lock(name).acquire()
        #expect(next.fence > lease.fence)
        try await next.release()
    }

    @Test func whereNoTransactionCouldRunThereIsNoGuard() async throws {
        let (place, name) = (try await Place(), newName())
        let lease = try await place.client.lock(name).acquire()
        #expect(await code { _ = try lease.guard() } == .unsupported)
        #expect(lease.isValid)
        try await lease.release()
        #expect(await code { _ = try lease.guard() } == .notHeld)
    }

    @Test func eventsTellWhatHappensToLeasesUntilTheClientIsClosed() async throws {
        let (place, name) = (try await Place(), newName())
        let events = place.client.events()
        let fence = try await place.client.lock(name).withLease { lease in lease.fence }
        let lease = try await place.client.lock(name).acquire()
        try await place.other.breakLock(name)
        _ = await lease.lost()
        await place.client.close()
        var told: [LeaseEvent] = []
        for await event in events { told.append(event) }
        #expect(told.map(\.what) == [.acquired, .released, .acquired, .lost])
        #expect(told.map(\.reason) == [nil, nil, nil, "gone"])
        #expect(told[0].lock == name && told[0].fence == fence)
        #expect("\(told[0])" == "lock \"\(name)\", fence \(fence): acquired")
    }

    @Test func whoStopsReadingEventsIsNotWaitedFor() async throws {
        let place = try await Place()
        let reader = Task { for await _ in place.client.events() {} }
        reader.cancel()
        await reader.value
    }

    @Test func aBrokenLockIsLostWithWordOfIt() async throws {
        let (place, name) = (try await Place(), newName())
        let lease = try await place.client.lock(name).acquire()
        #expect(try await place.other.breakLock(name))
        #expect(await lease.lost() == .gone)
        #expect(lease.loss == .gone)
        #expect(await code { try lease.check() } == .lost)
        do {
            try await lease.release()
            Issue.record("it was not lost")
        } catch {
            #expect(error.code == .lost && error.outcome == .notHeld && error.lock == name)
        }
        #expect(try await !place.other.breakLock(name))
    }

    @Test func aLeaseThatNobodyHasIsGivenBack() async throws {
        let (place, name) = (try await Place(), newName())
        var lease: Lease? = try await place.client.lock(name).acquire()
        #expect(try await place.other.lock(name).tryAcquire() == nil)
        #expect(lease != nil)
        lease = nil
        try await expectFree(place.other, name)
        // With the client gone as well.
        _ = try await Leasehold.connect(Redis.shared.url, ttl: long).lock(name).acquire()
        try await expectFree(place.other, name)
    }

    @Test func aClosedClientGivesBackAndTakesNothing() async throws {
        let (place, name) = (try await Place(), newName())
        let (lease, busy) = (try await place.client.lock(name).acquire(), newName())
        let held = try await place.other.lock(busy).acquire()
        async let waiting = code { _ = try await place.client.lock(busy).acquire() }
        try await until { try await place.other.status(busy)?.waiters.count == 1 }
        await place.client.close()
        #expect(await waiting == .closed)
        #expect(await lease.lost() == .closed)
        #expect(await code { _ = try await place.client.lock(name).tryAcquire() } == .closed)
        #expect(await code { _ = try await place.client.list() } == .closed)
        try await expectFree(place.other, name)
        try await held.release()
        await place.client.close()
    }

    @Test func aThousandTasksTakeLocksAtOnce() async throws {
        let (place, name) = (try await Place(), newName())
        let fences = try await withThrowingTaskGroup(of: (Int, UInt64).self) { group in
            for number in 0..<1_000 {
                group.addTask {
                    let lock = try place.client.lock("\(name)/\(number % 10)")
                    return (number % 10, try await lock.withLease { $0.fence })
                }
            }
            return try await group.reduce(into: [Int: Set<UInt64>]()) { $0[$1.0, default: []].insert($1.1) }
        }
        #expect(fences.values.allSatisfy { $0.count == 100 })
        #expect(try await place.other.list().allSatisfy { !$0.name.hasPrefix(name) || $0.holder == nil })
    }

    @Test @MainActor func tasksOfOneActorAreServedInTheirOrder() async throws {
        let (place, name) = (try await Place(), newName())
        // Where an order comes of chance, it is another one soon, if the threads have to wake up.
        for _ in 0..<40 {
            try await Task.sleep(for: .milliseconds(20))
            let held = try await place.other.lock(name).acquire()
            var (order, tasks) = ([Int](), [Task<Void, any Error>]())
            for number in 0..<4 {
                tasks.append(Task { try await place.client.lock(name).withLease { _ in order.append(number) } })
            }
            try await until { try await place.other.status(name)?.waiters.count == 1 }
            try await held.release()
            for task in tasks { try await task.value }
            try #require(order == [0, 1, 2, 3])
        }
    }

    @Test func aLeaseOutlivesThreeTtlsInWhichNoTaskCanRun() async throws {
        let (place, name) = (try await Place(), newName())
        let lease = try await place.client.lock(name, ttl: .milliseconds(400)).acquire()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<ProcessInfo.processInfo.activeProcessorCount {
                group.addTask { beBusy(for: 1.3) }
            }
        }
        try lease.check()
        #expect(try await place.other.lock(name).tryAcquire() == nil)
        try await lease.release()
    }

    @Test func theEmbeddedBackendNeedsNoServer() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).db")
        let client = try await Leasehold.connect("sqlite:\(file.path)")
        let lease = try await client.lock("x").acquire()
        #expect(lease.fence > 0 && client.caveats() == [] && client.backend.contains(file.path))
        await client.close()
        try FileManager.default.removeItem(at: file)
    }
}

#if os(Linux)
@Suite(.timeLimit(.minutes(2))) struct ClosingTests {
    /// What a client has that was closed, while somebody keeps it and its lease.
    @Test func aClosedClientHasNoFileOpen() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let open = {
            let descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
            let files = descriptors.compactMap {
                try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
            }
            return files.filter { $0.hasPrefix(folder) }.count
        }
        var kept: [(Client, Lock, Lease, Lease)] = []
        for _ in 0..<20 {
            let client = try await Leasehold.connect("sqlite:\(folder)/locks.db")
            let lock = try client.lock("x")
            let lost = try await lock.acquire()
            let given = try await client.lock("y").acquire()
            try await given.release()
            #expect(open() > 3)
            await client.close()
            kept.append((client, lock, lost, given))
        }
        try await until { open() == 0 }
        for (client, lock, lost, given) in kept {
            #expect(await code { _ = try await lock.acquire() } == .closed)
            #expect(await code { _ = try await client.list() } == .closed)
            #expect(await code { try await lost.release() } == .lost)
            #expect(await code { try await lost.renew() } == .closed)
            #expect(await lost.lost() == .closed && !lost.isValid && lost.remaining == .zero)
            #expect(await given.lost() == nil)
            try await given.release()
            for await event in client.events() { Issue.record("\(event)") }
            await client.close()
        }
    }
}
#endif
