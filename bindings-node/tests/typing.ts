// What the types allow, and what not. Compiled as an ES module and as CommonJS.
import { connect, Client, Lease, LeaseLost, LeaseholdError, Lock, LockTimeout } from 'leasehold'
import type { Held, Loss, Status } from 'leasehold'

export async function uses(signal: AbortSignal | undefined): Promise<void> {
  const client: Client = await connect('memory:', { ttl: 1_000, label: 'me' })
  const lock: Lock = client.lock('n', { wait: 5, autoRenew: false, maxHold: 1e6 })
  const lease: Lease = await lock.acquire({ signal })
  const fence: bigint = lease.fence
  const why: Loss | null = await lease.lost
  const busy: Lease | null = await lock.tryAcquire()
  const sum: number = await lock.run(async ({ fence, signal, lease }: Held) => {
    signal.throwIfAborted()
    lease.check()
    return Number(fence)
  })
  const text: string = await lock.run(() => 'at once')
  const status: Status | null = await client.status('n')
  const label: string | undefined = status?.holder?.label
  await using scoped = await lock.acquire()
  await using other = await connect()
  // @ts-expect-error times are numbers
  client.lock('n', { ttl: '10s' })
  // @ts-expect-error no such option
  client.lock('n', { colour: 'red' })
  // @ts-expect-error of a lock only
  await connect('memory:', { autoRenew: true })
  // @ts-expect-error a fence is a bigint
  const wrong: number = lease.fence
  // @ts-expect-error read only
  lease.fence = 1n
  // @ts-expect-error made by acquire()
  new Lease()
  void [fence, why, busy, sum, text, label, wrong, scoped, other]
}

export function tells(error: unknown): 'timeout' | 'lost' | 'other' {
  if (error instanceof LockTimeout) return error.code
  if (error instanceof LeaseLost) return error.code
  if (error instanceof LeaseholdError) void [error.code, error.outcome, error.lock]
  return 'other'
}
