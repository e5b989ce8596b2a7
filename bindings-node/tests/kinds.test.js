'use strict'
// Locks that several hold at once: shared ones, and those with permits.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { inspect } = require('node:util')
const { leasehold, until } = require('./rig.js')

const { InvalidInput, Refused } = leasehold
let client

before(async () => { client = await leasehold.connect('memory:') })
after(() => client.close())

test('readers share a lock and keep a writer out', async () => {
  const lock = client.lock('x', { shared: true })
  const [one, other] = await Promise.all([lock.acquire(), lock.acquire()])
  assert.deepEqual([one.fence, one.slot], [other.fence, null])
  assert.equal(await client.lock('x').tryAcquire(), null)
  assert.deepEqual((await client.status('x')).holders.map(({ mode }) => mode), ['shared', 'shared'])
  await Promise.all([one.release(), other.release()])
  await client.lock('x').run(async ({ fence }) => {
    assert.ok(fence > one.fence)
    assert.equal(await lock.tryAcquire(), null)
    const { holder, holders } = await client.status('x')
    assert.deepEqual([holder.mode, holder.slot, holders.length], ['exclusive', null, 1])
  })
})

test('a reader comes after a writer that waits', async () => {
  const reader = await client.lock('x', { shared: true }).acquire()
  const order = []
  const writer = client.lock('x').run(() => { order.push('writer') })
  await until(async () => (await client.status('x')).waiters.length === 1)
  const late = client.lock('x', { shared: true }).run(() => { order.push('reader') })
  await until(async () => (await client.status('x')).waiters.length === 2)
  await reader.release()
  await Promise.all([writer, late])
  assert.deepEqual(order, ['writer', 'reader'])
})

test('each permit has a slot and there is no more', async () => {
  const gpu = client.lock('gpu', { permits: 2 })
  const [one, other] = await Promise.all([gpu.acquire(), gpu.acquire()])
  assert.deepEqual([one.slot, other.slot].sort(), [0, 1])
  assert.equal(await gpu.tryAcquire(), null)
  const { holders } = await client.status('gpu')
  assert.deepEqual(holders.map(({ mode, slot }) => [mode, slot]), [['counted', 0], ['counted', 1]])
  assert.deepEqual(new Set(holders.map(({ fence }) => fence)), new Set([one.fence, other.fence]))
  assert.equal(JSON.parse(JSON.stringify(one)).slot, one.slot)
  await one.release()
  await gpu.run(({ lease }) => assert.ok(lease.slot === one.slot && lease.fence > one.fence))
  await other.release()
  assert.equal(await client.status('gpu'), null)
})

test('another number of permits is refused', async () => {
  const lease = await client.lock('x', { permits: 2 }).acquire()
  for (const options of [{ permits: 3 }, { shared: true }, {}]) {
    await assert.rejects(client.lock('x', options).tryAcquire(), (error) => {
      assert.ok(error instanceof Refused && error.lock === 'x')
      return /2 permits/.test(error.message)
    })
  }
  await lease.release()
  await (await client.lock('x', { permits: 3 }).acquire()).release()
})

test('permits that there cannot be, and both kinds at once, are refused', () => {
  for (const permits of [0, -1, 1001, 2 ** 40, Infinity, NaN, 1.5, true, '4', 4n]) {
    assert.throws(() => client.lock('x', { permits }), InvalidInput, inspect(permits))
  }
  assert.throws(() => client.lock('x', { shared: 1 }), InvalidInput)
  assert.throws(() => client.lock('x', { shared: true, permits: 2 }), /not both/)
})

test('several locks can be shared and counted', async () => {
  const take = (options) => client.locks(['a', 'b'], options).acquire()
  const readers = [await take({ shared: true }), await take({ shared: true })]
  assert.deepEqual([readers[0].slots, await client.lock('b').tryAcquire()], [{}, null])
  for (const leases of readers) await leases.release()
  const counted = [await take({ permits: 2 }), await take({ permits: 2 })]
  assert.deepEqual(counted.map(({ slots }) => slots), [{ a: 0, b: 0 }, { a: 1, b: 1 }])
  for (const leases of counted) await leases.release()
})
