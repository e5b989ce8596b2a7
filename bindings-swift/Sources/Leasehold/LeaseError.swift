import Foundation
internal import LeaseholdCore

/// Any failure of this package, except those of a ``Lock/withLease(isolation:_:)`` body.
///
/// ```swift
/// do {
///     try await lock.withLease { lease in … }
/// } catch LeaseError.lost {
///     // Somebody else may be at it by now.
/// } catch LeaseError.timeout {
///     // It was busy for all of `wait`.
/// }
/// ```
public struct LeaseError: Error, Sendable, Hashable {
    /// Why it failed. The raw values are stable, the same in every language.
    public enum Code: String, Sendable, CaseIterable {
        /// The lock was busy for as long as the caller was ready to wait.
        case timeout
        /// The lease was held and is not any more.
        case lost
        /// The lease was released before.
        case notHeld = "not_held"
        /// The backend could not be reached, or did not answer in time.
        case unavailable
        /// The backend's state or settings make it unsafe to go on.
        case refused
        /// The input cannot be used.
        case invalid
        /// The backend or platform cannot do this.
        case unsupported
        /// The client was closed.
        case closed
        /// The task was cancelled; nothing is held.
        case cancelled
        /// A bug in Leasehold or in a backend.
        case `internal`

        /// Whether an error has this code, so that it can stand behind `catch`.
        public static func ~= (code: Code, error: any Error) -> Bool {
            (error as? LeaseError)?.code == code
        }
    }

    /// What the caller holds after an error.
    public enum Outcome: String, Sendable, CaseIterable {
        /// The lock is not held.
        case notHeld = "not_held"
        /// The lock is still held.
        case held
        /// The request may have been carried out; the backend did not say.
        case unknown
    }

    /// Why it failed.
    public let code: Code
    /// What the caller holds now.
    public let outcome: Outcome
    /// The name of the lock that it is about, if there is one.
    public let lock: String?
    /// What happened, with the lock and the backend, and what to do; for people to read.
    public let message: String

    /// An error of one's own, for tests and stand-ins.
    public init(_ code: Code, outcome: Outcome = .notHeld, lock: String? = nil, message: String) {
        (self.code, self.outcome, self.lock, self.message) = (code, outcome, lock, message)
    }

    init(_ failure: Failure) {
        self.init(
            Code(rawValue: failure.code) ?? .internal,
            outcome: Outcome(rawValue: failure.outcome) ?? .unknown,
            lock: failure.lock, message: failure.message)
    }

    /// For an answer to something else; the core gives none.
    static let unexpected = LeaseError(.internal, outcome: .unknown, message: "an unexpected answer")
}

extension LeaseError {
    /// ``Code/timeout``, for `catch`.
    public static var timeout: Code { .timeout }
    /// ``Code/lost``, for `catch`.
    public static var lost: Code { .lost }
    /// ``Code/notHeld``, for `catch`.
    public static var notHeld: Code { .notHeld }
    /// ``Code/unavailable``, for `catch`.
    public static var unavailable: Code { .unavailable }
    /// ``Code/refused``, for `catch`.
    public static var refused: Code { .refused }
    /// ``Code/invalid``, for `catch`.
    public static var invalid: Code { .invalid }
    /// ``Code/unsupported``, for `catch`.
    public static var unsupported: Code { .unsupported }
    /// ``Code/closed``, for `catch`.
    public static var closed: Code { .closed }
    /// ``Code/cancelled``, for `catch`.
    public static var cancelled: Code { .cancelled }
    /// ``Code/internal``, for `catch`.
    public static var `internal`: Code { .internal }
}

extension LeaseError: LocalizedError, CustomStringConvertible {
    /// ``message``
    public var errorDescription: String? { message }
    /// ``message``, with the code.
    public var description: String { "\(code.rawValue): \(message)" }
}
