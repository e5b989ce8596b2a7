// The face of leasehold in Swift, for scenarios: does what a line of JSON says, answers
// with a line. It knows no time and repeats nothing.

import Foundation
import Leasehold

/// What a call is asked for.
struct Request: Decodable, Sendable {
    let id: Int
    let `do`: String
    let url, lock, lease, label, value, ticket: String?
    let ttl, wait, max_hold, every: Double?
    let auto_renew, raise, shared: Bool?
    let call, permits: Int?
}

/// Part of an answer. A property that is nil is left out, or null, where it stands.
struct Shown: Encodable, Sendable {
    struct Lease: Encodable, Sendable {
        let fence: UInt64
        let ttl, remaining: Double
        let valid: Bool
        let lost, key: String?
        let slot: Int?
    }
    struct Status: Encodable, Sendable {
        let fence: UInt64
        let holder: String?
        let waiters: [String]
    }
    var lease: Lease?
    var status: Status?
    var why: String?
    var locks: [String]?
    var was_held, ran: Bool?
    var ticket, value: String?
}

struct Failed: Encodable, Sendable {
    let code: String
    let outcome: String?
    let message: String
}

struct Line: Encodable, Sendable {
    let id: Int
    var began, ok: Shown?
    var error: Failed?
}

/// What the body of a block fails with when it is told to.
struct OwnFailure: Error {}

struct Unknown: Error {
    let what: String
}

@MainActor
final class Shim {
    private var client: Client?
    private var leases: [String: Lease] = [:]
    private var terms: [String: Term] = [:]
    /// Calls, and what ends a block, by the number of the call.
    private var running: [Int: Task<Void, Never>] = [:]
    private var working: [Int: AsyncStream<Bool>.Continuation] = [:]

    func heed(_ request: Request) {
        switch request.do {
        case "cancel":
            running[request.call!]?.cancel()
        case "finish":
            working[request.call!]?.yield(request.raise ?? false)
        default:
            running[request.id] = Task { await handle(request) }
        }
    }

    private func handle(_ request: Request) async {
        defer {
            running[request.id] = nil
            working[request.id] = nil
        }
        do {
            say(Line(id: request.id, ok: try await act(request)))
        } catch let error as LeaseError {
            fail(request, error.code.rawValue, error.outcome.rawValue, error.message)
        } catch is CancellationError {
            fail(request, "cancelled", nil, "")
        } catch is OwnFailure {
            fail(request, "own", nil, "")
        } catch {
            fail(request, "shim", nil, "\(error)")
        }
    }

    private func act(_ request: Request) async throws -> Shown {
        switch request.do {
        case "connect":
            client = try await Leasehold.connect(
                request.url!, ttl: span(request.ttl), wait: span(request.wait),
                maxHold: span(request.max_hold), label: request.label)
        case "acquire":
            return keep(request, try await lock(request).acquire())
        case "try":
            return keep(request, try await lock(request).tryAcquire())
        case "work":
            try await work(request)
        case "give":
            return Shown(ticket: try await lease(request).intoTicket())
        case "adopt":
            return keep(request, try await client!.adopt(request.ticket!))
        case "once":
            let once = try await client!.once(request.lock!, every: span(request.every)) { _ in }
            if case .ran = once { return Shown(ran: true) }
            return Shown(ran: false)
        case "campaign":
            let election = try client!.election(
                request.lock!, value: request.value, ttl: span(request.ttl))
            terms[request.lease!] = try await election.campaign()
        case "resign":
            guard let term = terms.removeValue(forKey: request.lease!) else {
                throw Unknown(what: request.lease!)
            }
            try await term.resign()
        case "leader":
            return Shown(value: try await client!.election(request.lock!).leader()?.value)
        case "release":
            try await lease(request).release()
        case "renew":
            try await lease(request).renew()
        case "drop":
            leases[request.lease!] = nil
        case "look":
            return Shown(lease: shown(try lease(request)))
        case "lost":
            let loss = await (try lease(request)).lost()
            try Task.checkCancellation()
            return Shown(why: loss?.rawValue)
        case "status":
            let status = try await client!.status(request.lock!)
            return Shown(status: status.map(shown))
        case "list":
            return Shown(locks: try await client!.list().map(\.name))
        case "break":
            return Shown(was_held: try await client!.breakLock(request.lock!))
        case "close":
            await client!.close()
        default:
            throw Unknown(what: request.do)
        }
        return Shown()
    }

    /// The language's own block. Its body touches the actor of whoever asks for it.
    private func work(_ request: Request) async throws {
        let (finish, told) = AsyncStream.makeStream(of: Bool.self)
        working[request.id] = told
        try await lock(request).withLease { lease in
            say(Line(id: request.id, began: Shown(lease: shown(lease))))
            for await raises in finish {
                if raises { throw OwnFailure() }
                return
            }
            try Task.checkCancellation()
        }
    }

    private func lease(_ request: Request) throws -> Lease {
        guard let lease = leases[request.lease!] else { throw Unknown(what: request.lease!) }
        return lease
    }

    private func lock(_ request: Request) throws -> Lock {
        try client!.lock(
            request.lock!, ttl: span(request.ttl), wait: span(request.wait),
            maxHold: span(request.max_hold), autoRenew: request.auto_renew, shared: request.shared,
            permits: request.permits, label: request.label)
    }

    private func keep(_ request: Request, _ lease: Lease?) -> Shown {
        if let lease { leases[request.lease!] = lease }
        return Shown(lease: lease.map(shown))
    }

    private func fail(_ request: Request, _ code: String, _ outcome: String?, _ message: String) {
        say(Line(id: request.id, error: Failed(code: code, outcome: outcome, message: message)))
    }

    private func say(_ line: Line) {
        let data = try! JSONEncoder().encode(line)
        FileHandle.standardOutput.write(data + Data("\n".utf8))
    }
}

func span(_ seconds: Double?) -> Duration? {
    seconds.map { .seconds($0) }
}

func seconds(_ span: Duration) -> Double {
    span / .seconds(1)
}

func shown(_ lease: Lease) -> Shown.Lease {
    Shown.Lease(
        fence: lease.fence, ttl: seconds(lease.ttl), remaining: seconds(lease.remaining),
        valid: lease.isValid, lost: lease.loss?.rawValue, key: lease.key,
        slot: lease.slot)
}

func shown(_ status: Status) -> Shown.Status {
    Shown.Status(fence: status.fence, holder: status.holder?.label, waiters: status.waiters)
}

// In the order in which they come; each goes on by itself.
let (lines, line) = AsyncStream.makeStream(of: String.self)
Thread.detachNewThread {
    while let text = readLine() { line.yield(text) }
    line.finish()
}
let shim = Shim()
for await text in lines {
    shim.heed(try JSONDecoder().decode(Request.self, from: Data(text.utf8)))
}
