internal import LeaseholdCore

/// Begin a call of the core, in the order of the caller's own actor, and wait for its
/// answer. Cancellation of the task ends it, also one that came before.
func call(
    isolation: isolated (any Actor)? = #isolation,
    _ begin: (Cancel, any Reply) -> Void
) async throws(LeaseError) -> Answer {
    let cancel = Cancel()
    return try await withTaskCancellationHandler {
        // Named, so that it is not left: the call is to begin before the actor does anything else.
        await finish(isolation: isolation) { begin(cancel, $0) }
    } onCancel: {
        cancel.cancel()
    }.orThrow()
}

/// The same for a call that goes to its end though the task is cancelled.
func finish(
    isolation: isolated (any Actor)? = #isolation,
    _ begin: (any Reply) -> Void
) async -> Answer {
    await withCheckedContinuation { waiting in
        begin(Told { waiting.resume(returning: $0) })
    }
}

extension Answer {
    func orThrow() throws(LeaseError) -> Answer {
        if case .failed(let failure) = self { throw LeaseError(failure) }
        return self
    }
}

/// What is done with an answer.
final class Told: Reply {
    private let act: @Sendable (Answer) -> Void

    init(_ act: @escaping @Sendable (Answer) -> Void) {
        self.act = act
    }

    func done(answer: Answer) {
        act(answer)
    }
}

extension Duration {
    /// As the core counts. More than can be counted is for ever, and no trap.
    var nanos: Int64 {
        let most = Duration.nanoseconds(Int64.max)
        let (seconds, attoseconds) = min(max(self, .zero - most), most).components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}

extension Settings {
    init(
        ttl: Duration?, delay: Duration?, wait: Duration?, maxHold: Duration?, autoRenew: Bool? = nil,
        shared: Bool? = nil, permits: Int? = nil, label: String? = nil, minHold: Duration? = nil,
        value: String? = nil
    ) {
        self.init(
            ttl: ttl?.nanos, delay: delay?.nanos, wait: wait?.nanos, maxHold: maxHold?.nanos,
            autoRenew: autoRenew, shared: shared, permits: permits.map(UInt32.init(clamping:)),
            label: label, minHold: minHold?.nanos, value: value)
    }
}
