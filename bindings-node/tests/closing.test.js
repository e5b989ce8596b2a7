'use strict'
// What a closed client gives back to the process: its thread and its descriptors.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { leasehold, LONG, Redis, newName, until } = require('./rig.js')

const { ClientClosed } = leasehold
const directory = fs.mkdtempSync('/tmp/leasehold-')
let servers, redis, urls

before(async () => {
  servers = await Promise.all([Redis.start(), Redis.start(), Redis.start()])
  redis = servers[0]
  urls = {
    memory: 'memory:',
    sqlite: `sqlite:${path.join(directory, 'locks.db')}`,
    redis: redis.url,
    redlock: `redlock://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
  }
})
after(() => {
  for (const server of servers) server.stop()
  fs.rmSync(directory, { recursive: true })
})

const count = (what) => fs.readdirSync(`/proc/self/${what}`).length
const counts = () => ({ descriptors: count('fd'), threads: count('task') })

const USES = {
  memory: 200,
  sqlite: 200,
  redis: 200,
  redlock: 20,
}

for (const [kind, rounds] of Object.entries(USES)) {
  test(`a client of ${kind} that was closed has neither thread nor descriptor`, async () => {
    const kept = []
    const use = async () => {
      const client = await leasehold.connect(urls[kind])
      const lease = await client.lock(newName()).tryAcquire()
      kept.push(client, lease, client.lock('x'), client.events(), await client.lock(newName()).tryAcquire())
      await lease?.release()
      await client.close()
    }
    await use()
    const before = await until(settled)
    for (let round = 0; round < rounds; round++) {
      await use()
      const { descriptors, threads } = counts()
      // The last one's threads may be about to end.
      assert.ok(descriptors <= before.descriptors + 24 && threads <= before.threads + 6, `${round}: ${descriptors}, ${threads}`)
    }
    await until(() => counts().descriptors <= before.descriptors && counts().threads <= before.threads, 5_000)
    assert.equal(kept.length, 5 * (rounds + 1))
  })
}

/** The counts, when nothing has just begun or ended. */
async function settled() {
  const first = counts()
  await new Promise((resolve) => setTimeout(resolve, 100))
  const second = counts()
  return first.descriptors === second.descriptors && first.threads === second.threads ? second : null
}

test('a closed client and what is left of it answer all the same', async () => {
  for (const url of Object.values(urls).slice(0, 3)) {
    const client = await leasehold.connect(url)
    const [lock, name] = [client.lock('x'), client.backend]
    const [held, given] = [await client.lock(newName(), { ttl: LONG }).acquire(), await client.lock(newName()).acquire()]
    const { lost } = held
    await given.release()
    const events = client.events()
    await client.close()
    assert.deepEqual([client.backend, client.caveats(), await lost], [name, [], 'closed'])
    for (const call of [lock.acquire(), lock.tryAcquire(), lock.run(() => {}), client.list(), client.status('x'), client.breakLock('x')]) {
      await assert.rejects(call, ClientClosed)
    }
    assert.deepEqual([held.isValid, held.remaining, held.loss, held.key, held.ttl], [false, 0, 'closed', null, LONG])
    assert.throws(() => held.check(), { code: 'lost' })
    await assert.rejects(held.renew(), ClientClosed)
    await assert.rejects(held.release(), { code: 'lost' })
    await assert.rejects(held[Symbol.asyncDispose](), { code: 'lost' })
    await given.release()
    await given[Symbol.asyncDispose]()
    assert.equal(await given.lost, null)
    const told = []
    for await (const event of events) told.push(event.what)
    assert.deepEqual(told, ['lost'])
    await Promise.all([client.close(), client.close()])
  }
})

test('whatever is under way when a client is closed comes to its end', async () => {
  const other = await leasehold.connect(redis.url)
  for (const url of Object.values(urls).slice(0, 3)) {
    for (let round = 0; round < 20; round++) {
      const client = await leasehold.connect(url)
      const names = [newName(), newName(), newName()]
      const lease = await client.lock(names[0], { ttl: LONG }).acquire()
      const released = await client.lock(names[1], { ttl: LONG }).acquire()
      const calls = [
        released.release(),
        client.lock(names[0]).acquire(),
        client.lock(names[0], { wait: LONG }).acquire(),
        client.lock(names[2], { ttl: LONG }).acquire(),
        client.lock(newName(), { ttl: LONG }).tryAcquire(),
        client.list(),
        lease.renew(),
        client.breakLock('x'),
        client.events().next(),
      ]
      const settled = Promise.allSettled(calls)
      if (round % 2) await new Promise(setImmediate)
      await client.close()
      const [first, ...others] = await settled
      assert.deepEqual(first, { status: 'fulfilled', value: undefined })
      for (const { reason } of others) assert.ok(!reason || ['closed', 'unavailable', 'lost'].includes(reason.code), reason)
      if (url === redis.url) for (const name of names) assert.equal((await other.status(name))?.holder ?? null, null)
    }
  }
  await other.close()
})

test('connections that are closed while they are made end', async () => {
  const before = await until(settled)
  for (let round = 0; round < 20; round++) {
    // Nobody answers there.
    await assert.rejects(leasehold.connect('redis://127.0.0.1:1'), leasehold.Unavailable)
  }
  await until(() => counts().descriptors <= before.descriptors && counts().threads <= before.threads, 5_000)
})
