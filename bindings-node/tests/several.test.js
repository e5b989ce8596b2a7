'use strict'
// Lock-delays, renewals by another ttl, and several locks at once.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { inspect } = require('node:util')
const { leasehold, until } = require('./rig.js')

const { InvalidInput, LeaseLost, LockTimeout } = leasehold
let client

before(async () => { client = await leasehold.connect('memory:') })
after(() => client.close())

const isFree = async () => (await client.list()).length === 0

test('a body that holds several locks', async () => {
  const locks = client.locks(['b', 'a', '__proto__'], { ttl: 10_000 })
  assert.deepEqual(locks.names, ['__proto__', 'a', 'b'])
  const sum = await locks.run(async ({ fences, signal, leases }) => {
    assert.deepEqual(Object.keys(fences), ['__proto__', 'a', 'b'])
    assert.ok(leases.isValid && !signal.aborted && leases.remaining > 5_000)
    assert.deepEqual(leases.fences, fences)
    assert.equal(JSON.parse(JSON.stringify(leases)).fences.a, String(fences.a))
    assert.equal(await client.lock('a').tryAcquire(), null)
    assert.equal(await client.locks(['a', 'c']).tryAcquire(), null)
    return fences.a + fences.b
  })
  assert.ok(sum > 0n && await isFree())
  const leases = await locks.acquire()
  assert.match(inspect(leases), /^Leases/)
  await leases[Symbol.asyncDispose]()
  assert.match(inspect(locks), /^Locks/)
})

test('the loss of one is the loss of all, and says which', async () => {
  const lost = client.locks(['a', 'b']).run(async ({ signal }) => {
    await client.breakLock('b')
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    assert.equal(signal.reason.lock, 'b')
  })
  await assert.rejects(lost, { code: 'lost', lock: 'b' })
  const leases = await client.locks(['a', 'b']).acquire()
  await client.breakLock('a')
  assert.equal(await leases.lost, 'gone')
  assert.deepEqual([leases.lostName, leases.loss, leases.isValid], ['a', 'gone', false])
  assert.throws(() => leases.check(), LeaseLost)
  await assert.rejects(leases.release(), LeaseLost)
  await until(isFree)
})

test('there is one wait for all, and after it nothing is held', async () => {
  const held = await client.lock('b').acquire()
  await assert.rejects(client.locks(['a', 'b'], { wait: 100 }).acquire(), LockTimeout)
  await held.release()
  await until(isFree)
})

test('names that make no group are refused', () => {
  for (const names of [[], ['a', 'a'], ['a', ''], 'ab', null, 7, ['a', 7]]) {
    assert.throws(() => client.locks(names), InvalidInput, inspect(names))
  }
})

test('a lease is renewed by another ttl', async () => {
  const lease = await client.lock('r', { autoRenew: false }).acquire()
  await lease.renew({ ttl: 100_000 })
  assert.ok(lease.ttl === 100_000 && lease.remaining > 90_000)
  await lease.renew({ ttl: 5_000 })
  await lease.renew()
  assert.ok(lease.ttl === 5_000 && lease.remaining <= 5_000)
  await assert.rejects(lease.renew({ ttl: 0 }), { code: 'invalid', outcome: 'held' })
  await assert.rejects(lease.renew({ tll: 1 }), InvalidInput)
  await lease.release()
  const renewed = await client.lock('r').acquire()
  await assert.rejects(renewed.renew({ ttl: 100_000 }), /auto_renew/)
  await renewed.release()
})

test('a delay is for others alone', async () => {
  const lease = await client.lock('d', { ttl: 1_000, delay: 600_000, autoRenew: false }).acquire()
  assert.ok(lease.ttl === 1_000 && lease.remaining <= 1_000)
  await until(async () => lease.loss === 'expired')
  await lease.release().catch(() => {})
  assert.ok((await client.status('d')).holder.freeIn > 500_000)
  assert.equal(await client.lock('d').tryAcquire(), null)
  assert.throws(() => client.lock('d', { delay: 24 * 3_600_000 }), /delay/)
  await client.breakLock('d')
})
