'use strict'
// Taking, holding, losing and giving back.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { leasehold, LONG, Redis, assertFree, block, newName, sleep, until } = require('./rig.js')

const { LeaseLost, LockTimeout, NotHeld } = leasehold
let redis, client, other

before(async () => {
  redis = await Redis.start()
  client = await leasehold.connect(redis.url, { ttl: LONG })
  other = await leasehold.connect(redis.url)
})
after(async () => {
  await Promise.all([client.close(), other.close()])
  redis.stop()
})

test('a lease has a fence, a deadline and an end', async () => {
  const name = newName()
  const lease = await client.lock(name, { ttl: 10_000, label: 'me' }).acquire()
  assert.equal(typeof lease.fence, 'bigint')
  assert.deepEqual([lease.name, lease.ttl, lease.key, lease.loss], [name, 10_000, null, null])
  assert.ok(lease.isValid && lease.remaining > 5_000 && lease.remaining < 10_000)
  lease.check()
  await lease.renew()
  const status = await other.status(name)
  assert.equal(status.fence, lease.fence)
  assert.match(status.holder.label, new RegExp(`:${process.pid} me$`))
  assert.ok(status.holder.heldFor >= 0 && status.holder.freeIn > 5_000)
  assert.deepEqual([status.waiters, (await other.list()).some((one) => one.name === name)], [[], true])
  assert.equal(await other.lock(name).tryAcquire(), null)
  await assert.rejects(other.lock(name, { wait: 30 }).acquire(), LockTimeout)
  const { lost } = lease
  await lease.release()
  assert.equal(await lost, null)
  assert.deepEqual([lease.isValid, lease.remaining, lease.loss], [false, 0, null])
  assert.throws(() => lease.check(), NotHeld)
  await assert.rejects(lease.renew(), NotHeld)
  await lease.release()
  const next = await other.lock(name).acquire()
  assert.ok(next.fence > lease.fence)
  await next.release()
  assert.equal((await other.status(name))?.holder ?? null, null)
})

test('a broken lock is lost, with word of it', async () => {
  const name = newName()
  const lease = await client.lock(name).acquire()
  assert.equal(await other.breakLock(name), true)
  assert.equal(await lease.lost, 'gone')
  assert.equal(lease.loss, 'gone')
  assert.throws(() => lease.check(), LeaseLost)
  await assert.rejects(lease.release(), { code: 'lost', outcome: 'not_held', lock: name })
  assert.equal(await other.breakLock(name), false)
})

test('run holds the lock while its body is at work, and answers its result', async () => {
  const name = newName()
  const result = await client.lock(name).run(async ({ fence, signal, lease }) => {
    assert.deepEqual([fence, signal.aborted, lease.isValid], [lease.fence, false, true])
    assert.equal(await other.lock(name).tryAcquire(), null)
    return 42
  })
  assert.equal(result, 42)
  await assertFree(other, name)
  assert.equal(await client.lock(name).run(() => 'no promise'), 'no promise')
})

test('run gives back when its body fails, and the failure goes on', async () => {
  const name = newName()
  const own = new Error('mine')
  await assert.rejects(client.lock(name).run(() => { throw own }), own)
  await assert.rejects(client.lock(name).run(() => Promise.reject(own)), own)
  await assertFree(other, name)
})

test('run rejects as soon as the lease is lost, also for a body that ignores it', async () => {
  const name = newName()
  let held
  const done = client.lock(name).run((given) => {
    held = given
    return new Promise(() => {})
  })
  await until(() => held)
  const began = performance.now()
  await Promise.all([other.breakLock(name), assert.rejects(done, LeaseLost)])
  assert.ok(performance.now() - began < 5_000)
  assert.ok(held.signal.aborted && held.signal.reason instanceof LeaseLost)
})

test('a body that fails because its signal was aborted is no unhandled rejection', async () => {
  const name = newName()
  const body = ({ signal }) => new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('stopped')))
  })
  const done = client.lock(name).run(body)
  await until(async () => (await other.status(name))?.holder)
  // The loss can be heard of before it is answered.
  await Promise.all([other.breakLock(name), assert.rejects(done, LeaseLost)])
  await sleep(20)
})

test('a result that was reached under a lost lease is a loss', async () => {
  await assert.rejects(client.lock(newName(), { maxHold: 100 }).run(() => block(300)), {
    code: 'lost',
  })
})

test('a lease outlives three ttls of a blocked event loop, but not maxHold', async () => {
  const name = newName()
  const lease = await client.lock(name, { ttl: 400 }).acquire()
  block(1_300)
  assert.ok(lease.isValid)
  lease.check()
  assert.equal(await other.lock(name).tryAcquire(), null)
  await lease.release()
  const bounded = await client.lock(name, { ttl: 400, maxHold: 600 }).acquire()
  block(800)
  assert.ok(!bounded.isValid)
  assert.equal(await bounded.lost, 'max_hold')
})

test('a lock that comes while JavaScript is busy is kept', async () => {
  const name = newName()
  const held = await other.lock(name).acquire()
  const waiting = client.lock(name, { ttl: 3_000 }).acquire()
  await until(async () => (await other.status(name)).waiters.length === 1)
  const released = held.release()
  // Longer than a grant lasts that nobody takes up.
  block(1_500)
  const lease = await waiting
  lease.check()
  await released
  assert.equal(await other.lock(name).tryAcquire(), null)
  await lease.release()
})

test('an answer that is there at once is told at once', async () => {
  const lock = (await leasehold.connect('memory:')).lock(newName())
  let turned = false
  setImmediate(() => (turned = true))
  for (let i = 0; i < 10; i++) await (await lock.acquire()).release()
  assert.ok(!turned, 'it took a turn of the event loop')
})

test('leaving a scope gives back', async () => {
  const name = newName()
  const lease = await client.lock(name).acquire()
  await lease[Symbol.asyncDispose]()
  await assertFree(other, name)
  const mine = await leasehold.connect(redis.url)
  const held = await mine.lock(name, { ttl: LONG }).acquire()
  const { lost } = held
  await mine[Symbol.asyncDispose]()
  assert.equal(await lost, 'closed')
  await assertFree(other, name)
  await assert.rejects(mine.lock(name).acquire(), leasehold.ClientClosed)
})

test('a server that is silent at the end of a scope is no error, of a release it is', async () => {
  const own = await Redis.start()
  const mine = await leasehold.connect(own.url)
  // The first release is waited for a second, while the second lease lives on.
  const [one, two] = await Promise.all([['a', 400], ['b', 6_000]].map(([name, ttl]) => mine.lock(name, { ttl }).acquire()))
  own.pause()
  await one[Symbol.asyncDispose]()
  await assert.rejects(two.release(), { code: 'unavailable', outcome: 'unknown', lock: 'b' })
  await mine.close()
  own.resume()
  own.stop()
})

test('ten thousand take locks at once', async () => {
  const name = newName()
  const hold = async (number) => {
    const lease = await client.lock(`${name}/${number % 100}`).acquire()
    await lease.release()
    return lease.fence
  }
  const fences = await Promise.all(Array.from({ length: 10_000 }, (_, number) => hold(number)))
  const ofOne = fences.filter((_, number) => number % 100 === 7)
  assert.deepEqual(ofOne, [...new Set(ofOne)].sort((a, b) => (a < b ? -1 : 1)))
  assert.ok((await other.list()).every((status) => !status.name.startsWith(name) || !status.holder))
})

test('fake timers change nothing', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate', 'Date'] })
  const name = newName()
  const lease = await client.lock(name, { ttl: 300 }).acquire()
  block(1_000)
  lease.check()
  await assert.rejects(other.lock(name, { wait: 50 }).acquire(), LockTimeout)
  await lease.release()
})

test('events tell what happens to leases, until the client is closed', async () => {
  const name = newName()
  const mine = await leasehold.connect(redis.url)
  const events = mine.events()
  const { fence } = await mine.lock(name).run(async ({ lease }) => lease)
  const lease = await mine.lock(name).acquire()
  await other.breakLock(name)
  await lease.lost
  await mine.close()
  const told = []
  for await (const event of events) told.push(event)
  const first = { lock: name, fence, what: 'acquired', reason: null, text: `lock "${name}", fence ${fence}: acquired` }
  assert.deepEqual(told[0], first)
  const short = told.map(({ what, reason }) => [what, reason])
  assert.deepEqual(short, [['acquired', null], ['released', null], ['acquired', null], ['lost', 'gone']])
})

test('a body that was not under the lock to its end is lost, though nobody had said so', async () => {
  const lost = async (body) => {
    const name = newName()
    await client.lock(name).run(async (held) => {
      assert.equal(redis.ask('DEL', `leasehold:${name}`), '1')
      return body(held)
    })
  }
  let signal
  await assert.rejects(lost((held) => { signal = held.signal }), LeaseLost)
  await until(() => signal.aborted)
  assert.ok(signal.reason instanceof LeaseLost)
  // What the body itself throws says more.
  await assert.rejects(lost(() => { throw new RangeError('mine') }), RangeError)
  const name = newName()
  const lease = await client.lock(name).acquire()
  redis.ask('DEL', `leasehold:${name}`)
  await assert.rejects(Promise.all([lease[Symbol.asyncDispose](), lease.release()]), LeaseLost)
  await assert.rejects(lease.release(), LeaseLost)
  assert.deepEqual([lease.loss, await lease.lost], ['gone', 'gone'])
})
