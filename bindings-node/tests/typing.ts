// What the types allow, and what not. Compiled as an ES module and as CommonJS.
import * as leasehold from 'leasehold'
import { connect, Client, Lease, LeaseLost, LeaseholdError, Lock, LockTimeout } from 'leasehold'
import type { AcquireOptions, Code, Held, Holder, LockOptions, Loss, Options, Outcome, Status } from 'leasehold'

/** These are one type, and neither is `any`. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function same<A, B>(_: Same<A, B>): void {}

export async function uses(signal: AbortSignal | undefined): Promise<void> {
  const client: Client = await connect('memory:', { ttl: 1_000, label: 'me' })
  const lock: Lock = client.lock('n', { wait: 5, autoRenew: false, maxHold: 1e6 })
  const lease: Lease = await lock.acquire({ signal })
  await lock.run(async ({ fence, signal, lease }: Held) => {
    signal.throwIfAborted()
    lease.check()
    return Number(fence)
  })
  await using scoped = await lock.acquire()
  await using perhaps = await lock.tryAcquire()
  await using other = await connect()
  void [lease, scoped, perhaps?.fence, other]
}

export async function elections(client: Client): Promise<void> {
  const election = client.election('n', { value: '10.0.0.7:8080', ttl: 1_000, wait: 5 })
  const done = await election.lead(async ({ term, signal }) => {
    signal.throwIfAborted()
    await term.proclaim('b')
    return term.number
  })
  same<typeof done, bigint>(true)
  await using term = await election.campaign()
  same<typeof term, leasehold.Term>(true)
  same<typeof election.leader, () => Promise<leasehold.Leader | null>>(true)
  for await (const leader of election.observe()) same<typeof leader, leasehold.Leader | null>(true)
  // @ts-expect-error it has a value, and no label
  client.election('n', { label: 'l' })
}

export async function results(client: Client, lock: Lock, lease: Lease, held: Held, status: Status): Promise<void> {
  same<typeof connect, (url?: string, options?: Options) => Promise<Client>>(true)
  same<typeof client.lock, (name: string, options?: LockOptions) => Lock>(true)
  same<typeof client.list, () => Promise<Status[]>>(true)
  same<typeof client.status, (name: string) => Promise<Status | null>>(true)
  same<typeof client.breakLock, (name: string) => Promise<boolean>>(true)
  same<typeof client.caveats, () => string[]>(true)
  same<typeof client.backend, string>(true)
  same<typeof lock.acquire, (options?: AcquireOptions) => Promise<Lease>>(true)
  same<typeof lock.tryAcquire, () => Promise<Lease | null>>(true)
  same<typeof lease.fence, bigint>(true)
  same<typeof lease.key, string | null>(true)
  same<typeof lease.slot, number | null>(true)
  same<typeof lease.lost, Promise<Loss | null>>(true)
  same<typeof lease.loss, Loss | null>(true)
  same<typeof lease.remaining, number>(true)
  same<typeof lease.isValid, boolean>(true)
  same<typeof lease.check, () => void>(true)
  same<typeof lease.release, () => Promise<void>>(true)
  same<typeof held.signal, AbortSignal>(true)
  const [text1, text2] = [status.toJSON().fence, lease.toJSON().fence]
  same<typeof text1, string>(true)
  same<typeof text2, string>(true)
  same<ReturnType<typeof status.toJSON>['waiters'], string[]>(true)
  same<typeof status.holder, Holder | null>(true)
  same<typeof status.holders, Holder[]>(true)
  same<typeof status.waiters, string[]>(true)
  same<Loss, 'expired' | 'gone' | 'max_hold' | 'closed'>(true)
  same<Outcome, 'not_held' | 'held' | 'unknown'>(true)
  const once = await client.once('n', { every: 1_000, slot: 's' }).run(async ({ fence }: Held) => fence)
  if (once.ran) same<typeof once.value, bigint>(true)
  else same<typeof once.why, 'running' | 'rested'>(true)
  const [number, text] = [await lock.run(async () => 1), await lock.run(() => 'at once')]
  same<typeof number, number>(true)
  same<typeof text, string>(true)
  same<typeof leasehold.connect, typeof connect>(true)
}

export async function refused(client: Client, lock: Lock, lease: Lease, held: Held): Promise<void> {
  // @ts-expect-error times are numbers
  client.lock('n', { ttl: '10s' })
  // @ts-expect-error not bigints
  client.lock('n', { wait: 10n })
  // @ts-expect-error no such option
  client.lock('n', { colour: 'red' })
  // @ts-expect-error as other languages spell it
  client.lock('n', { max_hold: 1_000 })
  // @ts-expect-error a flag
  client.lock('n', { autoRenew: 'no' })
  // @ts-expect-error a text
  client.lock('n', { label: 7 })
  // @ts-expect-error left out, not undefined
  client.lock('n', { ttl: undefined })
  // @ts-expect-error a lock has a name
  client.lock()
  // @ts-expect-error which is a text
  client.lock(42)
  // @ts-expect-error of a lock only
  await connect('memory:', { autoRenew: true })
  // @ts-expect-error a text
  await connect(new URL('redis://127.0.0.1'))
  // @ts-expect-error of a lock
  await lock.acquire({ wait: 5 })
  // @ts-expect-error a signal, not its controller
  await lock.acquire({ signal: new AbortController() })
  // @ts-expect-error it never waits
  await lock.tryAcquire({ signal: held.signal })
  // @ts-expect-error it may be busy
  ;(await lock.tryAcquire()).fence
  // @ts-expect-error a function
  await lock.run(lease)
  // @ts-expect-error it is given one thing
  await lock.run((lease: Held, signal: AbortSignal) => signal)
  // @ts-expect-error a fence is a bigint
  Number.isInteger(lease.fence + 1)
  // @ts-expect-error read only
  lease.fence = 1n
  // @ts-expect-error read only
  held.lease = lease
  // @ts-expect-error no such member
  lease.fencingToken
  // @ts-expect-error made by acquire()
  new Lease()
  // @ts-expect-error made by lock()
  new Lock()
  // @ts-expect-error made by connect()
  new Client()
  // @ts-expect-error it is given back by awaiting
  using scoped = lease
  void scoped
}

export function tells(error: unknown): Code | 'other' {
  if (error instanceof LockTimeout) same<typeof error.code, 'timeout'>(true)
  if (error instanceof LeaseLost) {
    same<typeof error.code, 'lost'>(true)
    // @ts-expect-error another's code
    if (error.code === 'timeout') return 'other'
  }
  if (error instanceof LeaseholdError) {
    same<typeof error.outcome, Outcome>(true)
    same<typeof error.lock, string | null>(true)
    return error.code
  }
  return 'other'
}
