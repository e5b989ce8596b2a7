// Servers and patience for the tests.

import Foundation
import Leasehold
import Testing

/// Of a lease that a test wants to see given back, not expired.
let long = Duration.seconds(60)
/// A loaded machine is slow; what hangs does so for longer than this.
let patience = Duration.seconds(20)

func newName() -> String {
    "s\(ProcessInfo.processInfo.processIdentifier)/\(UUID())"
}

/// Ask until the answer is true.
func until(
    _ condition: () async throws -> Bool, isolation: isolated (any Actor)? = #isolation
) async throws {
    let end = ContinuousClock.now + patience
    while try await !condition() {
        try #require(ContinuousClock.now < end, "waited in vain")
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// Somebody else has it soon, long before the ttl of whoever held it.
func expectFree(_ client: Client, _ name: String) async throws {
    let lease = try await client.lock(name, ttl: long).acquire(timeout: .seconds(5))
    try await lease.release()
}

/// Keep a thread of Swift's pool.
func beBusy(for seconds: Double) {
    Thread.sleep(forTimeInterval: seconds)
}

/// The code of what a call fails with.
func code(_ call: () async throws -> Void) async -> LeaseError.Code? {
    do {
        try await call()
        return nil
    } catch {
        return (error as? LeaseError)?.code
    }
}

func message(_ call: () async throws -> Void) async -> String {
    do {
        try await call()
        return "it did not fail"
    } catch {
        return "\(error)"
    }
}

/// A server with nothing in it. It ends with this process, whatever becomes of that.
final class Redis: Sendable {
    static let shared = Redis()

    let url: String
    private let pid: Int32
    private let keeper: Process
    private let input: FileHandle

    init() {
        // Silent when somebody else has the port. It goes to its end when nobody listens, and
        // when this process ends while the server is stopped, of which a hangup comes.
        let script = """
            trap '' PIPE HUP
            redis-server --bind 127.0.0.1 --port "$0" --save '' --appendonly no >/dev/null &
            until redis-cli -p "$0" info server 2>/dev/null | grep -q "process_id:$!"; do
                kill -0 $! || exit
                sleep 0.02
            done
            echo $!
            read _
            kill -9 $!
            """
        while true {
            let port = UInt16.random(in: 20_000..<60_000)
            let (keeper, input, output) = (Process(), Pipe(), Pipe())
            keeper.executableURL = URL(fileURLWithPath: "/bin/sh")
            keeper.arguments = ["-c", script, "\(port)"]
            (keeper.standardInput, keeper.standardOutput) = (input, output)
            try! keeper.run()
            let said = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
            if let pid = Int32(said.trimmingCharacters(in: .whitespacesAndNewlines)) {
                self.url = "redis://127.0.0.1:\(port)"
                (self.pid, self.keeper, self.input) = (pid, keeper, input.fileHandleForWriting)
                return
            }
        }
    }

    func pause() { kill(pid, SIGSTOP) }
    func resume() { kill(pid, SIGCONT) }
    func stop() { input.closeFile() }

    deinit { stop() }
}

/// Two clients of one server.
struct Place {
    let client, other: Client

    init() async throws {
        client = try await Leasehold.connect(Redis.shared.url, ttl: long)
        other = try await Leasehold.connect(Redis.shared.url)
    }
}

/// Something that happens once, and can be waited for.
actor Event {
    private var hasHappened = false

    func happen() { hasHappened = true }

    func wait() async throws {
        try await until { hasHappened }
    }
}
