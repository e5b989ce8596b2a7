internal import LeaseholdCore

/// Who is inside of a body under a lease, and does nothing else until that has ended: a task that
/// asks for such a lease again would wait for itself.
struct Inside: Sendable {
    /// The bodies around this one, and this one, by their numbers.
    @TaskLocal private static var bodies: [Inside] = []

    private let number: UInt64
    private let task: Int

    /// The bodies that go on when whoever runs here does. A task that a body has begun inherits
    /// them, but nobody has to wait for it.
    static var here: [Inside] { bodies.last?.task == current ? bodies : [] }

    /// Their numbers.
    static var tasks: [UInt64] { here.map(\.number) }

    /// Do the work of a body inside of others, in a task that does nothing else.
    static func run<Value: Sendable>(
        _ lease: LeaseholdCore.Lease, within others: [Inside], _ work: () async -> Value
    ) async -> Value {
        let body = Inside(number: .random(in: 1...UInt64.max), task: current ?? 0)
        lease.keepFor(task: body.number)
        defer { lease.keepFor(task: 0) }
        return await $bodies.withValue(others + [body], operation: work)
    }

    private static var current: Int? { withUnsafeCurrentTask { $0?.hashValue } }
}
