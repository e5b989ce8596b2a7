// What the end of a scope does that has an 'await using'.
import { connect, ClientClosed, LeaseLost } from 'leasehold'

async function main(): Promise<string> {
  const said: string[] = []
  const client = await connect('memory:')
  const lock = client.lock('x', { wait: 5_000 })
  {
    await using lease = await lock.acquire()
    said.push(lease.isValid && (await lock.tryAcquire()) === null ? 'held' : 'not held')
  }
  {
    await using lease = await lock.tryAcquire()
    said.push(lease === null ? 'not free' : 'free')
  }
  try {
    await using lease = await lock.acquire()
    await client.breakLock(lease.name)
  } catch (error) {
    said.push(error instanceof LeaseLost ? 'lost' : String(error))
  }
  const closed = async () => {
    await using own = await connect('memory:')
    return own.lock('y')
  }
  const late = await (await closed()).acquire().catch((error: unknown) => error)
  said.push(late instanceof ClientClosed ? 'closed' : String(late))
  await client.close()
  return said.join(', ')
}

main().then(console.log)
