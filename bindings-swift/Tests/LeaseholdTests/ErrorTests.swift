// The errors, and what bad input is told.

import Foundation
import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct ErrorTests {
    @Test(arguments: [
        (Duration.zero, "0ns"), (.milliseconds(1), "1ms"), (.seconds(-1), "-1s"),
        (.nanoseconds(-1), "-1ns"), (.seconds(Int64.max), "9223372036.854775807s"),
        (.seconds(1e20), "9223372036.854775807s"), (.seconds(-1e20), "-9223372036.854775807s"),
        (.seconds(25 * 60 * 60), "90000s"),
    ])
    func aTtlThatIsNoneIsNamed(ttl: Duration, said: String) async throws {
        let client = try await Leasehold.connect("memory:")
        for message in [
            await message { _ = try await client.lock("n", ttl: ttl).acquire() },
            await message { _ = try client.lock("n", ttl: ttl) },
            await message { try await client.lock("n", ttl: ttl).withLease { _ in } },
            await message { _ = try await Leasehold.connect("memory:", ttl: ttl) },
        ] {
            #expect(message.hasPrefix("invalid: ttl ") && message.contains(said), "\(message)")
        }
        await client.close()
    }

    @Test func otherOddTimes() async throws {
        let client = try await Leasehold.connect("memory:")
        let negative = await message { _ = try await client.lock("n").acquire(timeout: .seconds(-3)) }
        #expect(negative.contains("timeout is a time from 0 on, not -3s"))
        #expect(await message { _ = try await client.lock("n", wait: .seconds(-1e20)).acquire() }.contains("wait"))
        let short = await message { _ = try await client.lock("n", maxHold: .milliseconds(1)).acquire() }
        #expect(short.contains("max_hold"))
        let lease = try await client.lock("n", maxHold: .seconds(1e20)).acquire(timeout: .seconds(1e20))
        #expect(await code { _ = try await client.lock("n").acquire(timeout: .zero) } == .timeout)
        #expect(await code { _ = try await client.lock("n", wait: .nanoseconds(1)).acquire() } == .timeout)
        try await lease.release()
        await client.close()
    }

    @Test func badNamesLabelsAndURLsAreNamedAndOddOnesAreFine() async throws {
        let client = try await Leasehold.connect("memory:")
        for name in ["", "a\0b", String(repeating: "x", count: 1_025)] {
            #expect(await message { _ = try client.lock(name) }.contains("name"))
            #expect(await code { _ = try await client.status(name) } == .invalid)
            #expect(await code { try await client.breakLock(name) } == .invalid)
        }
        #expect(await message { _ = try await client.lock("n", label: "a\nb").acquire() }.contains("a\\nb"))
        for url in ["carrier:pigeon", "", "memory:x", "redis://h:99999", "sqlite:?a=b"] {
            #expect(await code { _ = try await Leasehold.connect(url) } == .invalid)
        }
        for odd in [String(repeating: "💥", count: 256), " ", "a b/c"] {
            try await client.lock(odd).withLease { #expect($0.name == odd) }
        }
        await client.close()
    }

    @Test func aServerThatIsNotThereIsNamedItsPasswordIsNot() async throws {
        let redis = Redis()
        redis.stop()
        let url = redis.url.replacingOccurrences(of: "redis://", with: "redis://:secret@")
        try await until { await code { _ = try await Leasehold.connect(url) } == .unavailable }
        let said = await message { _ = try await Leasehold.connect(url) }
        #expect(said.contains("127.0.0.1:") && !said.contains("secret"))
    }

    @Test func errorsCanBeCaughtByTheirCode() async throws {
        let client = try await Leasehold.connect("memory:")
        let lease = try await client.lock("n").acquire()
        do {
            try await client.lock("n", wait: .milliseconds(1)).withLease { _ in }
            Issue.record("it was busy")
        } catch LeaseError.lost {
            Issue.record("it was not lost")
        } catch LeaseError.timeout {}
        do {
            _ = try await client.lock("n", wait: .milliseconds(1)).acquire()
            Issue.record("it was busy")
        } catch LeaseError.timeout {
        } catch {
            Issue.record("\(error)")
        }
        do {
            // The type of the error is known here.
            _ = try await client.lock("n").acquire(timeout: .zero)
        } catch {
            #expect(error.code == .timeout && error.outcome == .notHeld && error.lock == "n")
            #expect(error.localizedDescription == error.message && "\(error)" == "timeout: \(error.message)")
        }
        try await lease.release()
        await client.close()
    }
}
