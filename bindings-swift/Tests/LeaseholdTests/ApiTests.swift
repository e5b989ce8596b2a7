// The package has what tests/api.toml says that every language has, and no more.

import Foundation
import Leasehold
import Testing

/// That these compile is half of the test: every operation, with every parameter.
private let operations: [String: [String]] = {
    let s = Duration.seconds(1)
    func compiles(_: (Client, Lock, Lease) async throws -> Any?) {}
    compiles { _, _, _ in try await Leasehold.connect("", ttl: s, delay: s, wait: s, maxHold: s, label: "") as Client }
    compiles { c, _, _ in
        try c.lock(
            "", ttl: s, delay: s, wait: s, maxHold: s, minHold: s, autoRenew: true, shared: true, permits: 4,
            label: "") as Lock
    }
    compiles { c, _, _ in
        try c.locks(
            [""], ttl: s, delay: s, wait: s, maxHold: s, minHold: s, autoRenew: true, shared: true, permits: 4,
            label: "") as Locks
    }
    compiles { c, _, _ in
        try await c.once("", every: s, slot: "", ttl: s, delay: s, maxHold: s, label: "") { _ in 1 } as Once<Int>
    }
    compiles { c, _, _ in try c.election("", value: "", ttl: s, delay: s, wait: s, maxHold: s) as Election }
    compiles { c, _, _ in try await c.list() as [Status] }
    compiles { c, _, _ in try await c.status("") as Status? }
    compiles { c, _, _ in try await c.breakLock("") as Bool }
    compiles { c, _, _ in try await c.deadlocks() as [Deadlock] }
    compiles { c, _, _ in await c.close() as Void }
    compiles { c, _, _ in (c.backend as String, c.caveats() as [String]) }
    compiles { c, _, _ in c.events() as AsyncStream<LeaseEvent> }
    compiles { _, l, _ in try await l.acquire(timeout: s) as Lease }
    compiles { _, l, _ in try await l.tryAcquire() as Lease? }
    compiles { _, l, _ in try await l.withLease { _ in 1 } as Int }
    compiles { _, _, l in (l.name as String, l.fence as UInt64, l.key as String?, l.slot as Int?) }
    compiles { _, _, l in (l.ttl as Duration, l.remaining as Duration, l.isValid as Bool) }
    compiles { _, _, l in (await l.lost() as Loss?, l.loss as Loss?) }
    compiles { _, _, l in (try l.check(), try await l.renew(for: s), try await l.renew(), try await l.release()) }
    compiles { _, _, l in try l.guard() as String }
    compiles { c, _, l in try await c.adopt(try await l.intoTicket(valid: s), name: "") as Lease }
    return [
        "client": [
            "connect", "lock", "locks", "once", "election", "list", "status", "deadlocks", "breakLock", "adopt", "close", "backend",
            "caveats", "events",
        ],
        "lock": ["acquire", "tryAcquire", "withLease"],
        "lease": [
            "name", "fence", "key", "slot", "ttl", "remaining", "isValid", "lost", "loss", "check", "guard",
            "renew", "intoTicket", "release",
        ],
    ]
}()

/// What each type has in public beside that.
private let own: [String: [String]] = ["client": [], "lock": ["name"], "lease": []]

@Suite(.timeLimit(.minutes(2))) struct ApiTests {
    let api: [String]
    let sources: String

    init() throws {
        let package = URL(fileURLWithPath: #filePath).appendingPathComponent("../../..").standardized
        let file = package.appendingPathComponent("../tests/api.toml")
        api = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "\n")
        let folder = package.appendingPathComponent("Sources/Leasehold")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        sources = try files.map { try String(contentsOf: $0, encoding: .utf8) }.joined()
    }

    @Test(arguments: ["client", "lock", "lease"])
    func everyOperationIsThereAndNoOther(kind: String) throws {
        let listed = api.compactMap { $0.firstMatch(of: /^\[(\w+)\.(\w+)\]$/) }
            .filter { $0.1 == kind }.map { $0.2 == "run" ? "withLease" : camel(String($0.2)) }
        #expect(!listed.isEmpty && Set(listed) == Set(operations[kind]!))
        let type = kind.capitalized
        let pattern = try Regex("public (?:final class|struct) \(type): .*?\\{\\n([\\s\\S]*?)\\n\\}\\n")
        let body = try #require(sources.firstMatch(of: pattern))
        let members = try #require(body.output[1].substring)
            .matches(of: /\n    public (?:func|var|let) `?(\w+)/).map { String($0.1) }
        let expected = listed.filter { $0 != "connect" } + own[kind]!
        #expect(Set(members) == Set(expected))
    }

    @Test(arguments: ["connect", "lock"])
    func everyParameterIsThereAndNoOther(operation: String) throws {
        let start = try #require(api.firstIndex(of: "[client.\(operation)]"))
        let table = api[(start + 1)...].prefix { !$0.hasPrefix("[") }
        let listed = table.compactMap { $0.firstMatch(of: /^parameters\.(\w+)/) }.map { camel(String($0.1)) }
        let pattern = try Regex("func \(operation)\\(([\\s\\S]*?)\\n *\\)")
        let parameters = try #require(sources.firstMatch(of: pattern)).output[1].substring
        let names = try #require(parameters).matches(of: /\n +(?:_ )?(\w+):/).map { String($0.1) }
        #expect(Set(listed) == Set(names).subtracting(["isolation"]))
        // The binding holds no value of its own: the core decides.
        #expect(!sources.contains(/: (?:Duration|Bool|Int|String)\?? = [^n"]/))
    }

    @Test func everyPublicNameIsExplained() {
        var before = ""
        for line in sources.components(separatedBy: "\n").map({ $0.trimmingCharacters(in: .whitespaces) }) {
            let isName = line.hasPrefix("public ") || line.hasPrefix("case ") && !line.contains(":")
            #expect(!isName || before.hasPrefix("///"), "\(line)")
            before = line.hasPrefix("@") ? before : line
        }
    }

    @Test func everyErrorAndEveryLossIsListed() throws {
        let errors = try #require(api.firstIndex(of: "[errors]"))
        let codes = api[errors...].compactMap { $0.firstMatch(of: /^(\w+) = \{ outcome/) }.map { String($0.1) }
        #expect(Set(codes) == Set(LeaseError.Code.allCases.map(\.rawValue)))
        let told = try #require(api.compactMap { $0.firstMatch(of: /^what = \[(.*)\]/) }.first)
        #expect(told.1.components(separatedBy: ", ").map { $0.trimmingCharacters(in: ["\""]) }
            == LeaseEvent.What.allCases.map(\.rawValue))
        let reasons = try #require(api.compactMap { $0.firstMatch(of: /^reasons = \[(.*)\]/) }.first)
        let words = reasons.1.matches(of: /\w+/).map { String($0.0) }
        #expect(Set(words) == Set(Loss.allCases.map(\.rawValue)))
        #expect(Set(LeaseError.Outcome.allCases.map(\.rawValue)) == ["not_held", "held", "unknown"])
    }

    @Test func limitsAreThoseOfTheCore() async throws {
        let client = try await Leasehold.connect("memory:")
        for (ttl, isFine) in [(100, true), (99, false), (86_400_000, true), (86_400_001, false)] {
            let taken = await code { try await client.lock("\(ttl)", ttl: .milliseconds(ttl)).acquire().release() }
            #expect(taken == (isFine ? nil : .invalid))
        }
        for (permits, isFine) in [(1, true), (0, false), (-1, false), (1_000, true), (1_001, false), (Int.max, false)] {
            let taken = await code { try await client.lock("p", permits: permits).acquire().release() }
            #expect(taken == (isFine ? nil : .invalid))
        }
        #expect(try await client.lock("n").acquire().ttl == .seconds(10))
        await client.close()
    }

    private func camel(_ word: String) -> String {
        let parts = word.split(separator: "_").map(String.init)
        return parts[0] + parts.dropFirst().map(\.capitalized).joined()
    }
}
