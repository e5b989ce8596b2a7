// Holds a lock until it loses that, and again until it is killed.

import Foundation
import Leasehold

@Sendable func say(_ words: String) {
    FileHandle.standardOutput.write(Data("\(words)\n".utf8))
}

let client = try await Leasehold.connect(CommandLine.arguments[1])
let lock = try client.lock(CommandLine.arguments[2], ttl: .seconds(2))
while true {
    do {
        try await lock.withLease { lease in
            say("held \(ProcessInfo.processInfo.processIdentifier) \(lease.fence)")
            try await Task.sleep(for: .seconds(600))
        }
    } catch LeaseError.lost {
        say("lost")
    }
}
