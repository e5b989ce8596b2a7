/**
 * Lease locks with fencing tokens, for programs that must agree that only one of them
 * does a thing. Times are milliseconds.
 */

/** What a client is given for all its locks, and a lock for itself. */
export interface Options {
  /**
   * How long a lease outlives its last renewal, from 100 ms to a day; 10 s unless set. It
   * bounds how long others wait for a holder that vanished, not how long one can hold.
   */
  ttl?: number
  /**
   * A lock-delay: how long the lock stays taken after the end of a lease that was not released, for
   * resources that cannot check a fence; none unless set. With the ttl a day at most.
   */
  delay?: number
  /**
   * How long a busy lock is waited for, and a backend that does not answer or is not there yet.
   * Unless set, the first is without end and the second 10 s. With 0 a free lock is still taken.
   */
  wait?: number
  /** The longest a lease is held, however healthy its renewals; unbounded unless set. */
  maxHold?: number
  /** What others see of the holder, after its host and process id. */
  label?: string
}

export interface LockOptions extends Options {
  /**
   * The shortest that the lock stays taken, up to 400 days: when the lease is released before, the lock
   * rests until then, and is nobody's. None unless set. Not after a crash or a loss.
   */
  minHold?: number
  /** Whether a lease is renewed in the background; yes unless set. */
  autoRenew?: boolean
  /**
   * Share it: any number of leases that share a lock are held at once, with one fence, and no other one
   * beside them.
   */
  shared?: boolean
  /**
   * Let as many hold it at once, from 1 to 1000, each with a {@link Lease.slot} of its own. All who use
   * the name say the same number.
   */
  permits?: number
}

export interface ElectionOptions extends Omit<Options, 'label' | 'wait' | 'maxHold'> {
  /**
   * What others see of the leader, such as its address: up to 256 bytes without control characters;
   * nothing unless set.
   */
  value?: string
  /** How long a campaign lasts; see {@link Options.wait}. */
  wait?: number
  /** The longest term. */
  maxHold?: number
}

export interface AcquireOptions {
  /**
   * Aborted at any moment, also before, the call rejects with its reason and nothing is held. One
   * of another make will do, if it has `aborted`, `addEventListener` and `removeEventListener`.
   */
  signal?: AbortSignal | undefined
}

export interface RenewOptions {
  /** From 100 ms to a day; that of the lease unless set. */
  ttl?: number
}

export interface TicketOptions {
  /** How long the ticket is valid, from 100 ms to a day; as long as the ttl unless set. */
  valid?: number
}

export interface AdoptOptions {
  /** The lock that the ticket has to be of, if that is to be checked. */
  name?: string
}

/** Why a lease was lost. */
export type Loss = 'expired' | 'gone' | 'max_hold' | 'closed'

/** Who holds a lock. */
export interface Holder {
  /** Host, process id and the free text of the holder. */
  label: string
  /** For how long; where it is resting, since it was given back. */
  heldFor: number
  /** When the lease ends unless it is renewed, or when the rest ends. */
  freeIn: number
  /** Whether it was given back and its lock rests, as by `minHold` or after `once`. */
  resting: boolean
  mode: Mode
  /** Which of the permits it has. */
  slot: number | null
  /** Its fencing token: each permit has its own, those who share have the same. 0 for a client of another
   *  library, which has none. */
  fence: bigint
}

/** How a lock is held: by one, by all who share it, or by as many as there are permits. */
export type Mode = 'exclusive' | 'shared' | 'counted'

/** What JSON.stringify makes of something with a fence: JSON has no bigint, so the fence is a text. */
export type Json<T> = Omit<T, 'fence' | 'toJSON'> & { fence: string }

/** A lock that is held or waited for. */
export interface Status {
  name: string
  /** That of the last grant. */
  fence: bigint
  /** Who holds it; of several the first. */
  holder: Holder | null
  /** One, or all who share the lock. */
  holders: Holder[]
  /**
   * The labels of those who wait, first come first: of each client the first, and then all others of
   * the client that asks, though they may be served before.
   */
  waiters: string[]
  /** For JSON.stringify; not seen by anybody else, nor copied along by `{ ...status }`. */
  toJSON(): StatusJson
}

/** What JSON.stringify makes of a status. */
export interface StatusJson extends Omit<Json<Status>, 'holder' | 'holders'> {
  holder: Json<Holder> | null
  holders: Json<Holder>[]
}

/** One waits for a lock that another holds. */
export interface Wait {
  /** The name of the lock. */
  lock: string
  /** The label of who waits. */
  waiter: string
  /** The label of who holds it, or of one of those who share it. */
  holder: string
}

/**
 * Processes of which each waits for a lock that another one of them holds. It is a deadlock if each of them
 * does one thing at a time; a process with several tasks may go on.
 */
export interface Deadlock {
  /** Each wait in it, by the name of the lock. */
  waits: Wait[]
}

/** Something that happened to a lease. */
export interface LeaseEvent {
  /** The name of its lock. */
  lock: string
  fence: bigint
  /**
   * `handed_on`: a ticket holds it, and whoever has `adopted` that. `renewal_failed`: the first after one
   * that did not fail; it is repeated until the lease is lost.
   */
  what: 'acquired' | 'adopted' | 'handed_on' | 'renewal_failed' | 'lost' | 'released'
  /** Why it was lost, or the code of the error of the renewal, or of a release that was not confirmed. */
  reason: Loss | Code | null
  /** A line for a log. */
  text: string
  /** For JSON.stringify; not seen by anybody else, nor copied along by `{ ...event }`. */
  toJSON(): Json<LeaseEvent>
}

/** What JSON.stringify makes of a lease. */
export interface LeaseJson extends Pick<Lease, 'name' | 'key' | 'slot' | 'ttl' | 'remaining' | 'isValid' | 'loss'> {
  fence: string
}

/**
 * Open the backend that the URL names, now: `sqlite:PATH` for the processes of one machine
 * (`sqlite:`, which is also meant by no URL, is a file in the user's state directory),
 * `redis://HOST`, `redlock://HOST,HOST,HOST`, `etcd://HOST,HOST,HOST`, or `memory:` inside
 * this client only.
 *
 * Rejects with InvalidInput for what cannot be used, Unavailable, or Refused.
 */
export function connect(url?: string, options?: Options): Promise<Client>

/** An open connection to one backend. It keeps the process alive only while one of its promises is pending. */
export class Client implements AsyncDisposable {
  private constructor()
  /** The lock of this name: 1 to 1024 bytes without NUL. Throws InvalidInput for a name or options that cannot be used. */
  lock(name: string, options?: LockOptions): Lock
  /**
   * The locks of these names, to be taken together, all or nothing, in the order of their names; `wait`
   * is for all together. Throws InvalidInput also for no names, and for one that is given twice.
   */
  locks(names: Iterable<string>, options?: LockOptions): Locks
  /**
   * Work that is done once per interval, or once for each slot, by whichever process comes first. Throws
   * InvalidInput for a name or options that cannot be used.
   */
  once(name: string, options: OnceOptions): Once
  /**
   * The election of this name, which is led by who holds the lock of the same name. Throws InvalidInput
   * for a name or options that cannot be used.
   */
  election(name: string, options?: ElectionOptions): Election
  /** The locks that are held or waited for, by name. */
  list(): Promise<Status[]>
  /** Who holds and who waits for one lock; null when nobody does. */
  status(name: string): Promise<Status | null>
  /**
   * The circles in which processes wait for each other's locks, from one look at all of them. Not all is
   * seen: of another client only the first that waits for each lock, and only what waits for a lock of
   * another client.
   */
  deadlocks(): Promise<Deadlock[]>
  /**
   * Take the lock from whoever holds it; answers whether somebody did. Until that one's work
   * has stopped, two may be at work, and only their fences tell them apart.
   */
  breakLock(name: string): Promise<boolean>
  /**
   * What happens to this client's leases from now on, for logs; it ends when the client is
   * closed, and does not keep the process alive. A reader that is more than 1024 behind misses
   * the oldest.
   */
  events(): AsyncGenerator<LeaseEvent, void, undefined>
  /** What the server that answers now promises less than its backend does; for people to read. */
  caveats(): string[]
  /** The backend as messages name it, without passwords. */
  readonly backend: string
  /**
   * Go on with a lease that another process has handed on by {@link Lease.intoTicket}: with its fence,
   * ttl and other options. It never takes the lock anew. Rejects with InvalidInput for a text that is
   * no ticket, Refused for a ticket of another lock or kind of backend, which stays good, and
   * LeaseLost for one that was used, or whose time is over.
   */
  adopt(ticket: string, options?: AdoptOptions): Promise<Lease>
  /**
   * Give back everything and end, the client's thread and connections too. Waiting calls reject
   * with ClientClosed, leases are lost. It waits until the backend has confirmed that, or every
   * lease has expired: where a server hangs, as long as the longest ttl. Done when the process has
   * nothing more to do, too, for a second at most; not by process.exit().
   */
  close(): Promise<void>
  /** {@link close} */
  [Symbol.asyncDispose](): Promise<void>
}

/** What the body of {@link Lock.run} is given. */
export interface Held {
  /** {@link Lease.fence} */
  readonly fence: bigint
  /** Aborted when the lease is lost, with the LeaseLost as its reason. */
  readonly signal: AbortSignal
  readonly lease: Lease
  /** {@link Lease.toJSON} */
  toJSON(): LeaseJson
}

/**
 * A name and options. It can be used again, and by many at once, each of which holds a lease
 * of its own. It is not reentrant: who takes a lock twice waits for itself; `wait` bounds that.
 */
export class Lock {
  private constructor()
  readonly name: string
  /**
   * Wait for the lock and hold it. Rejects with LockTimeout when it was busy for all of `wait`,
   * Unavailable when the backend did not answer. Nothing is held after an error.
   */
  acquire(options?: AcquireOptions): Promise<Lease>
  /** Hold the lock if it is free now; null if it is not. */
  tryAcquire(): Promise<Lease | null>
  /**
   * Do `body` while holding the lock: acquire, body, release. When the lease is lost, `signal`
   * is aborted and this rejects with LeaseLost at once, whether or not the body has stopped.
   * So it does when only the release tells that the lease was gone before the body had ended. A body
   * that returns a generator has not done its work: InvalidInput.
   */
  run<T>(body: (held: Held) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T>
}

export interface OnceOptions {
  /**
   * The interval, up to 400 days: after the work has succeeded, the lock of this name rests for 95 % of
   * it. With a slot: how long that is remembered; 7 days unless set.
   */
  every?: number
  /** Once for each such text instead, as `2026-11-27`. Each is a lock of its own, `NAME@SLOT`. */
  slot?: string
  /** As for a lock. */
  ttl?: number
  /** As for a lock. */
  delay?: number
  /** As for a lock; what ran for so long has failed. */
  maxHold?: number
  /** As for a lock. */
  label?: string
}

/** Why work was skipped: another is at it, or it was done. */
export type Skip = 'running' | 'rested'

/** What came of {@link Once.run}. */
export type OnceResult<T> =
  | { ran: true; value: T }
  /** `nextIn`: when to try again; while another works, when its lease ends unless it is renewed. */
  | { ran: false; why: Skip; nextIn: number }

/** Work that is done once per interval, whoever tries how often. */
export class Once {
  private constructor()
  readonly name: string
  /**
   * Do `body` as {@link Lock.run} does, unless another is at it or it was done: then it is skipped at once.
   * It has succeeded unless it rejects: then the lock is free at once, as it is after a loss. A backend
   * that does not answer is Unavailable and never a skip.
   */
  run<T>(body: (held: Held) => T | PromiseLike<T>, options?: AcquireOptions): Promise<OnceResult<T>>
}

/**
 * A lock that is held: a fence, a deadline, and word when it is lost. It is renewed in the
 * background, however busy JavaScript is, until it is released, lost, or garbage: keep it for
 * as long as you rely on it. Waiting for `lost` keeps it, too.
 */
export class Lease implements AsyncDisposable {
  private constructor()
  readonly name: string
  /**
   * The fencing token: larger than that of every earlier holder of this name. Send it along
   * with every operation on what the lock protects, reads included, and let that refuse
   * smaller ones than it has seen.
   */
  readonly fence: bigint
  /** With etcd, of a lock that is held alone: the key whose create_revision is the fence. */
  readonly key: string | null
  /** With `permits`: which of them it is, from 0; nobody else has it meanwhile. */
  readonly slot: number | null
  /** The ttl that it is renewed by. */
  readonly ttl: number
  /** For how long it stays valid without another renewal. */
  readonly remaining: number
  /** Whether it is held at this instant, by the clock alone. */
  readonly isValid: boolean
  /** Why it was lost, if it was. */
  readonly loss: Loss | null
  /**
   * Resolves when it is lost, with the reason, or with null when it is released; never rejects.
   * When renewals fail this comes 10 % of the ttl before the end. It does not keep the process alive.
   */
  readonly lost: Promise<Loss | null>
  /** Throws LeaseLost if it is not held at this instant, or NotHeld if it was released. */
  check(): void
  /**
   * With PostgreSQL, MySQL and MariaDB: an SQL statement without parameters. Run it in your own transaction,
   * in the database where the lock is. It fails if this lease does not hold the lock any more: roll back
   * then. If it does not fail, nobody takes the lock over until that transaction ends, whatever the clocks
   * do. Commit, then release. Does no I/O. Throws LeaseLost or NotHeld when the lease is over; Unsupported on other backends, and with
   * MySQL for a lock that is shared or has permits.
   */
  guard(): string
  /**
   * Renew now, by a full ttl. Needed only with `autoRenew: false`; then also by another ttl, which the
   * lease has from then on. A shorter one moves the end back before the request is sent. Where one had
   * no answer it may still arrive, and longer ones buy no more than that: `remaining` tells.
   */
  renew(options?: RenewOptions): Promise<void>
  /**
   * Hand it to another process: a text for {@link Client.adopt} there, which goes on with the same
   * fence. It is for one use, and a secret: whoever has it can take the lease. The lease is over here:
   * releasing it does nothing more. Rejects with Unsupported on a quorum; then it is still held. After
   * Unavailable there is no ticket, and the lease is given back in the background.
   */
  intoTicket(options?: TicketOptions): Promise<string>
  /**
   * Give it back; all calls wait for the first and get its answer. Rejects with LeaseLost when
   * it was not held to the end, which may be known only now, with Unavailable when the backend
   * did not confirm: then it was given back in time, and the release is repeated in the
   * background until the ttl has passed.
   */
  release(): Promise<void>
  /** {@link release} at the end of the work: a backend that does not confirm is no error. */
  [Symbol.asyncDispose](): Promise<void>
  /** What it is now, for JSON.stringify: a lease cannot be sent anywhere itself. */
  toJSON(): LeaseJson
}

/** What the body of {@link Locks.run} is given. */
export interface HeldTogether {
  /** {@link Leases.fences} */
  readonly fences: Record<string, bigint>
  /** Aborted when one is lost, with the LeaseLost as its reason, which names it. */
  readonly signal: AbortSignal
  readonly leases: Leases
  /** {@link Leases.toJSON} */
  toJSON(): LeasesJson
}

/** What JSON.stringify makes of leases that are held together. */
export interface LeasesJson
  extends Pick<Leases, 'keys' | 'slots' | 'ttl' | 'remaining' | 'isValid' | 'loss' | 'lostName'> {
  fences: Record<string, string>
}

/** Several names and options, otherwise as a {@link Lock}. */
export class Locks {
  private constructor()
  /** In the order in which they are taken. */
  readonly names: string[]
  /** {@link Lock.acquire}, for all of them or none. */
  acquire(options?: AcquireOptions): Promise<Leases>
  /** Hold all of them if they are free now; null if one is not. */
  tryAcquire(): Promise<Leases | null>
  /** {@link Lock.run}; the loss of one is the loss of all. */
  run<T>(body: (held: HeldTogether) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T>
}

/**
 * Several locks that are held together: a fence for each name, and one end. When one is lost all
 * are. Otherwise as a {@link Lease}.
 */
export class Leases implements AsyncDisposable {
  private constructor()
  readonly names: string[]
  /** {@link Lease.fence} of each name. */
  readonly fences: Record<string, bigint>
  /** {@link Lease.key} of each name, with etcd, of locks that are held alone. */
  readonly keys: Record<string, string>
  /** {@link Lease.slot} of each name, with permits. */
  readonly slots: Record<string, number>
  readonly ttl: number
  /** For how long all of them stay valid without another renewal. */
  readonly remaining: number
  /** Whether all are held at this instant. */
  readonly isValid: boolean
  readonly loss: Loss | null
  /** Which was lost first, if they were lost. */
  readonly lostName: string | null
  readonly lost: Promise<Loss | null>
  check(): void
  renew(options?: RenewOptions): Promise<void>
  /** Rejects with Unsupported: locks that are held together cannot be handed on. */
  intoTicket(options?: TicketOptions): Promise<string>
  release(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
  toJSON(): LeasesJson
}

/** Who leads. */
export interface Leader {
  /** What it shows; empty if it has shown nothing. */
  value: string
  /** The number of its term, which is the fence of its lease. */
  term: bigint
  /** Its host and process id, and the value. */
  label: string
  /** For how long it has led. */
  heldFor: number
  /** When its term ends unless it is renewed. */
  freeIn: number
  /** For JSON.stringify; not seen by anybody else, nor copied along by `{ ...leader }`. */
  toJSON(): Omit<Leader, 'term' | 'toJSON'> & { term: string }
}

/** What the body of {@link Election.lead} is given. */
export interface Leading {
  readonly term: Term
  /** Aborted when the term is lost, with the LeaseLost as its reason. */
  readonly signal: AbortSignal
  /** {@link Lease.toJSON} */
  toJSON(): LeaseJson
}

/** A term of a leader: a {@link Lease} that shows a value. */
export interface Term extends Lease {}
export class Term {
  private constructor()
  /** Its number, larger than that of every earlier term; it is the fence. */
  readonly number: bigint
  /**
   * Show another value from now on. The term and its number stay. Rejects with LeaseLost when the term
   * is over. Rejects with Unavailable when the backend did not answer: others see this value or the one
   * before, and this one may even come after a later one; proclaim again.
   */
  proclaim(value: string): Promise<void>
  /** End the term, and hand the lead to the next in line; see {@link Lease.release}. */
  resign(): Promise<void>
}

/** An election: who holds the lock of this name leads, and shows a value. It can be used by many at once. */
export class Election {
  private constructor()
  readonly name: string
  /** Wait until this one leads; see {@link Lock.acquire}. */
  campaign(options?: AcquireOptions): Promise<Term>
  /**
   * Campaign, do `body` while leading, and campaign again after a loss; when it has ended under its term,
   * resign and answer what it came to. When the term is lost, `signal` is aborted before the term ends,
   * and the next campaign begins when the body has ended. What the body throws ends the lead. Rejects as
   * {@link Lock.acquire} when a campaign fails, so with Unavailable when the backend is away for `wait`,
   * or 10 s.
   */
  lead<T>(body: (leading: Leading) => T | PromiseLike<T>, options?: AcquireOptions): Promise<T>
  /** Who leads now; null when nobody does. Rejects with Refused when the lock of this name is shared or has permits. */
  leader(): Promise<Leader | null>
  /**
   * Who leads, one after the other: the present leader first, then each change, of the value too, and null
   * when nobody leads. The backend is asked every second; that costs the leader nothing. To end the
   * iteration ends a `next()` that waits. An outage rejects once with Unavailable; the next `next()` tells who leads when the
   * backend answers again.
   */
  observe(): AsyncIterableIterator<Leader | null>
}

/** What the caller holds after an error: `unknown` when the request may have been carried out. */
export type Outcome = 'not_held' | 'held' | 'unknown'

export type Code =
  | 'timeout'
  | 'lost'
  | 'not_held'
  | 'unavailable'
  | 'refused'
  | 'invalid'
  | 'unsupported'
  | 'closed'
  | 'cancelled'
  | 'internal'

export interface ErrorDetails extends ErrorOptions {
  outcome?: Outcome
  lock?: string | null
}

/** Any failure of this package. */
export class LeaseholdError extends Error {
  constructor(message: string, details?: ErrorDetails)
  /** Stable, the same in every language. */
  readonly code: Code
  readonly outcome: Outcome
  /** The name of the lock that it is about, if there is one. */
  readonly lock: string | null
}
/** The lock was busy for as long as the caller was ready to wait. */
export class LockTimeout extends LeaseholdError {
  readonly code: 'timeout'
}
/** The lease was held and is not any more. */
export class LeaseLost extends LeaseholdError {
  readonly code: 'lost'
}
/** The lease was released before. */
export class NotHeld extends LeaseholdError {
  readonly code: 'not_held'
}
/** The backend could not be reached, or did not answer in time. */
export class Unavailable extends LeaseholdError {
  readonly code: 'unavailable'
}
/** The backend's state or settings make it unsafe to go on. */
export class Refused extends LeaseholdError {
  readonly code: 'refused'
}
/** The input cannot be used. */
export class InvalidInput extends LeaseholdError {
  readonly code: 'invalid'
}
/** The backend or platform cannot do this. */
export class Unsupported extends LeaseholdError {
  readonly code: 'unsupported'
}
/** The client was closed. */
export class ClientClosed extends LeaseholdError {
  readonly code: 'closed'
}
/** The caller gave up. */
export class Cancelled extends LeaseholdError {
  readonly code: 'cancelled'
}
/** A bug in Leasehold or in a backend. */
export class InternalError extends LeaseholdError {
  readonly code: 'internal'
}
