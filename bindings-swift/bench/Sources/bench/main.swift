// The Swift side of `cargo xtask bench swift`:
//
//     bench pair URL NAME NANOSECONDS          prints the median of acquire + release
//     bench turns URL NAME WAITERS START END   prints when each turn was acquired and released

import Foundation
import Leasehold

/// The machine's clock that the Rust side counts by, in nanoseconds.
@Sendable func now() -> UInt64 {
    #if os(Linux)
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    #else
    return clock_gettime_nsec_np(CLOCK_MONOTONIC)
    #endif
}

@Sendable func pairs(_ lock: Lock, until end: UInt64) async throws -> [UInt64] {
    var (times, before) = ([UInt64](), now())
    while before < end {
        try await lock.acquire().release()
        let after = now()
        times.append(after - before)
        before = after
    }
    return times
}

@Sendable func turns(_ lock: Lock, from start: UInt64, until end: UInt64) async throws -> [String] {
    try await Task.sleep(nanoseconds: start - min(start, now()))
    var turns: [String] = []
    while now() < end {
        let lease = try await lock.acquire()
        let acquired = now()
        let releasing = now()
        try await lease.release()
        turns.append("\(acquired) \(releasing)")
    }
    return turns
}

let words = CommandLine.arguments
let client = try await Leasehold.connect(words[2])
let lock = try client.lock(words[3])
if words[1] == "pair" {
    let span = UInt64(words[4])!
    // In a task of its own, because that is where a program's work is done.
    let times = try await Task.detached { try await pairs(lock, until: now() + span) }.value.sorted()
    print(times[times.count / 2])
} else {
    let (waiters, start, end) = (Int(words[4])!, UInt64(words[5])!, UInt64(words[6])!)
    try await withThrowingTaskGroup(of: [String].self) { group in
        for _ in 0..<waiters { group.addTask { try await turns(lock, from: start, until: end) } }
        for try await said in group { print(said.joined(separator: "\n")) }
    }
}
await client.close()
