// The block.

import Foundation
import Leasehold
import Testing

struct OwnError: Error, Equatable {}

/// Something that must not leave its actor.
final class Unshared {
    var count = 0
}

actor Account {
    private(set) var balance = 0
    private let mine = Unshared()

    /// What two at a time would get wrong.
    func add(_ lock: Lock) async throws -> Unshared {
        try await lock.withLease { _ in
            let before = balance
            await Task.yield()
            balance = before + 1
            mine.count += 1
            return mine
        }
    }

    func count(_ lock: Lock) async throws -> Int {
        try await add(lock).count
    }
}

@Suite(.timeLimit(.minutes(2))) struct WithLeaseTests {
    @Test func theLockIsHeldWhileTheBodyIsAtWork() async throws {
        let (place, name) = (try await Place(), newName())
        var seen = 0
        let result = try await place.client.lock(name).withLease { lease in
            seen += 1
            let second = try await place.other.lock(name).tryAcquire()
            #expect(lease.isValid && !Task.isCancelled && second == nil)
            return Unshared()
        }
        #expect(result.count == 0 && seen == 1)
        try await expectFree(place.other, name)
    }

    @Test func theLockIsFreeWhenTheBlockIsLeft() async throws {
        let (place, name) = (try await Place(), newName())
        for _ in 0..<50 {
            try await place.client.lock(name).withLease { _ in }
            let lease = try await place.other.lock(name).tryAcquire()
            try await #require(lease).release()
        }
    }

    @Test func actorsAreSafe() async throws {
        let (place, account) = (try await Place(), Account())
        let lock = try place.client.lock(newName())
        let counts = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<200 { group.addTask { try await account.count(lock) } }
            return try await group.reduce(into: [Int]()) { $0.append($1) }
        }
        #expect(await account.balance == 200)
        #expect(counts.max() == 200)
    }

    @Test func aLostLeaseCancelsTheBody() async throws {
        let (place, name) = (try await Place(), newName())
        let ended = await code {
            try await place.client.lock(name).withLease { lease in
                #expect(try await place.other.breakLock(name))
                // Ends by cancellation only.
                await #expect(throws: CancellationError.self) { try await Task.sleep(for: .seconds(600)) }
                #expect(Task.isCancelled && lease.loss == .gone)
                try Task.checkCancellation()
            }
        }
        #expect(ended == .lost)
        #expect(!Task.isCancelled)
    }

    @Test func aResultUnderALostLeaseIsALoss() async throws {
        let (place, name) = (try await Place(), newName())
        let lock = try place.client.lock(name, maxHold: .milliseconds(100))
        let result = await code {
            try await lock.withLease { _ in beBusy(for: 0.3) }
        }
        let error = await code {
            try await lock.withLease { _ in
                beBusy(for: 0.3)
                throw OwnError()
            }
        }
        #expect(result == .lost && error == .lost)
        try await expectFree(place.other, name)
    }

    @Test func theBodysErrorGoesOn() async throws {
        let (place, name) = (try await Place(), newName())
        await #expect(throws: OwnError()) { try await place.client.lock(name).withLease { _ in throw OwnError() } }
        try await expectFree(place.other, name)
    }

    @Test func theBodysErrorAndResultOutliveAFailingRelease() async throws {
        let redis = Redis()
        let client = try await Leasehold.connect(redis.url, ttl: .seconds(2))
        await #expect(throws: OwnError()) {
            try await client.lock("a").withLease { _ in
                redis.pause()
                throw OwnError()
            }
        }
        redis.resume()
        let result = try await client.lock("b").withLease { _ in
            redis.pause()
            return 7
        }
        #expect(result == 7)
        redis.resume()
        // Of a release by hand it is an error.
        let lease = try await client.lock("c").acquire()
        redis.pause()
        #expect(await code { try await lease.release() } == .unavailable)
        redis.stop()
    }

    @Test func theCallersCancellationReachesTheBody() async throws {
        let (place, name, begun) = (try await Place(), newName(), Event())
        let task = Task {
            try await place.client.lock(name).withLease { _ in
                await begun.happen()
                try await Task.sleep(for: .seconds(600))
            }
        }
        try await begun.wait()
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        try await expectFree(place.other, name)
    }

    @Test func aBodyMayReleaseByItself() async throws {
        let (place, name) = (try await Place(), newName())
        let result = try await place.client.lock(name).withLease { lease in
            try await lease.release()
            try await expectFree(place.other, name)
            return 3
        }
        #expect(result == 3)
    }

    @Test func aClosedClientEndsTheBody() async throws {
        let place = try await Place()
        let ended = await code {
            try await place.client.lock(newName()).withLease { _ in
                await place.client.close()
                try await Task.sleep(for: .seconds(600))
            }
        }
        #expect(ended == .lost || ended == .closed)
    }

    @Test func taskLocalsAreThere() async throws {
        let place = try await Place()
        try await Context.$name.withValue("outer") {
            let seen = try await place.client.lock(newName()).withLease { _ in Context.name }
            #expect(seen == "outer")
        }
    }
}

enum Context {
    @TaskLocal static var name = "none"
}
