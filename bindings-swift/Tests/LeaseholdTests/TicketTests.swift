// Leases that are handed to another process.

import Foundation
import Leasehold
import Testing

@Suite(.timeLimit(.minutes(2))) struct TicketTests {
    @Test func aLeaseGoesOnWithWhoeverAdoptsItsTicket() async throws {
        let client = try await Leasehold.connect("memory:")
        let lease = try await client.lock("x", ttl: .seconds(60)).acquire()
        let ticket = try await lease.intoTicket(valid: .seconds(3600))
        #expect(!lease.isValid && lease.loss == nil)
        #expect(await code { try lease.check() } == .notHeld)
        #expect(await code { _ = try await lease.intoTicket() } == .notHeld)
        try await lease.release()
        #expect(try await client.lock("x").tryAcquire() == nil)
        let adopted = try await client.adopt(ticket, name: "x")
        #expect(adopted.name == "x" && adopted.fence == lease.fence && adopted.ttl == .seconds(60))
        #expect(await code { _ = try await client.adopt(ticket) } == .lost)
        try await adopted.release()
        #expect(try await client.lock("x").tryAcquire() != nil)
        await client.close()
    }

    @Test func aTicketThatIsNotGood() async throws {
        let client = try await Leasehold.connect("memory:")
        let ticket = try await client.lock("x").acquire().intoTicket()
        #expect(await code { _ = try await client.adopt(ticket, name: "y") } == .refused)
        #expect(await code { _ = try await client.adopt(String(ticket.dropLast(3))) } == .invalid)
        #expect(await code { _ = try await client.adopt("lh9.whatever") } == .refused)
        let lease = try await client.lock("z").acquire()
        #expect(await code { _ = try await lease.intoTicket(valid: .seconds(86401)) } == .invalid)
        #expect(await code { _ = try await lease.intoTicket(valid: .seconds(-1)) } == .invalid)
        #expect(lease.isValid)
        let several = try await client.locks(["a", "b"]).acquire()
        #expect(await code { _ = try await several.intoTicket() } == .unsupported)
        #expect(several.isValid)
        try await client.adopt(ticket, name: "x").release()
        await client.close()
    }
}
