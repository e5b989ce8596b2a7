// A server of which several run, for when one dies, and whose scheduled job is to run on
// one of them only:
//
//     nightly redis://redis.internal reports.log 60
//
// makes a report each minute. The one that leads does so until it ends or loses its lease;
// then another takes over at once.

import Foundation
import Leasehold

guard CommandLine.arguments.count == 4, let seconds = Double(CommandLine.arguments[3]) else {
    print("usage: nightly URL FILE SECONDS")
    exit(64)
}
let (url, file) = (CommandLine.arguments[1], URL(fileURLWithPath: CommandLine.arguments[2]))
let me = ProcessInfo.processInfo.processIdentifier

/// At once, where `print` keeps it for a while if its reader is a pipe.
@Sendable func say(_ words: String) {
    FileHandle.standardOutput.write(Data("\(me) \(words)\n".utf8))
}

/// The job. What is protected is the file: a report of an older fence comes too late.
@Sendable func makeReport(_ lease: Lease) throws {
    let written = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
    let last = written.split(separator: "\n").last?.split(separator: " ").first
    guard last.flatMap({ UInt64($0) }) ?? 0 <= lease.fence else { return }
    // The last look before what cannot be undone.
    try lease.check()
    try (written + "\(lease.fence) by \(me)\n").write(to: file, atomically: true, encoding: .utf8)
}

@Sendable func schedule(_ lock: Lock) async {
    while !Task.isCancelled {
        do {
            try await lock.withLease { lease in
                say("leads with fence \(lease.fence)")
                while true {
                    try makeReport(lease)
                    try await Task.sleep(for: .seconds(seconds))
                }
            }
        } catch LeaseError.lost {
            say("leads no more")
        } catch LeaseError.unavailable {
            say("finds no server, and tries again")
        } catch where Task.isCancelled {
            return
        } catch {
            say("fails: \(error)")
            return
        }
    }
}

let client = try await Leasehold.connect(url)
// Waits for as long as another leads.
let lock = try client.lock("nightly", ttl: .seconds(2), label: "scheduler")
let job = Task { await schedule(lock) }

// Here a server would serve. At SIGTERM the lock is given back before the end, so that
// another leads at once.
signal(SIGTERM, SIG_IGN)
let (ends, end) = AsyncStream.makeStream(of: Void.self)
let terminate = DispatchSource.makeSignalSource(signal: SIGTERM)
terminate.setEventHandler { end.yield() }
terminate.resume()
for await _ in ends { break }
job.cancel()
await job.value
await client.close()
say("ends")
