// Elections: terms, the values that leaders show, and those who look on.

import Foundation
import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct ElectionTests {
    @Test func aLeaderShowsAValueAndProclaimsAnother() async throws {
        let client = try await Leasehold.connect("memory:")
        let election = try client.election("x", value: "10.0.0.7:8080")
        #expect(try await election.leader() == nil)
        let term = try await election.campaign()
        let leader = try #require(try await election.leader())
        #expect(leader.value == "10.0.0.7:8080" && leader.term == term.number)
        #expect(leader.label.hasSuffix(" 10.0.0.7:8080") && leader.freeIn <= term.lease.ttl)
        try await term.proclaim("b")
        #expect(try await election.leader()?.value == "b")
        #expect(await code { try await term.proclaim("a\nb") } == .invalid)
        try await term.resign()
        #expect(try await election.leader() == nil)
        #expect(await code { try await term.proclaim("late") } == .notHeld)
        await client.close()
    }

    @Test func whatAnElectionCannotBeIsRefused() async throws {
        let client = try await Leasehold.connect("memory:")
        let longest = String(repeating: "v", count: 256)
        _ = try client.election("x", value: longest)
        #expect(await code { _ = try client.election("x", value: longest + "v") } == .invalid)
        #expect(await code { _ = try client.election("") } == .invalid)
        let reader = try await client.lock("x", shared: true).acquire()
        let election = try client.election("x")
        #expect(await code { _ = try await election.leader() } == .refused)
        try await reader.release()
        await client.close()
    }

    @Test func aBodyHasEndedBeforeTheNextCampaignBegins() async throws {
        let client = try await Leasehold.connect("memory:")
        let election = try client.election("x")
        let terms = Terms()
        let done = try await election.lead { term in
            if await terms.begin(term.number) < 3 {
                try await client.breakLock("x")
                try? await Task.sleep(for: .seconds(60))
                #expect(Task.isCancelled)
            }
            await terms.end()
            return "done"
        }
        #expect(done == "done")
        let numbers = await terms.numbers
        #expect(numbers.count == 3 && numbers == numbers.sorted())
        #expect(await !terms.overlapped)
        #expect(try await election.leader() == nil)
        await client.close()
    }

    @Test func whatABodyThrowsEndsTheLead() async throws {
        struct Mine: Error {}
        let client = try await Leasehold.connect("memory:")
        let election = try client.election("x")
        await #expect(throws: Mine.self) { try await election.lead { _ in throw Mine() } }
        #expect(try await election.leader() == nil)
        await client.close()
    }

    @Test func observersAreToldOfEachLeaderAndOfNobody() async throws {
        let client = try await Leasehold.connect("memory:")
        let election = try client.election("x", value: "a")
        var (seen, term): ([String?], Term?) = ([], nil)
        for try await leader in election.observe() {
            seen.append(leader?.value)
            switch seen.count {
            case 1: term = try await election.campaign()
            case 2: try await term?.proclaim("b")
            case 3: try await term?.resign()
            default: break
            }
            if seen.count == 4 { break }
        }
        #expect(seen == [nil, "a", "b", nil])
        let leaders = election.observe()
        _ = try await leaders.next()
        await client.close()
        #expect(await code { _ = try await leaders.next() } == .closed)
    }
}

private actor Terms {
    var numbers: [UInt64] = []
    var overlapped = false
    private var isAtWork = false

    func begin(_ number: UInt64) -> Int {
        overlapped = overlapped || isAtWork
        isAtWork = true
        numbers.append(number)
        return numbers.count
    }

    func end() { isAtWork = false }
}
