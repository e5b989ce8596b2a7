'use strict'
// Work that is done once per interval, and locks that rest.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { inspect } = require('node:util')
const { leasehold, newName, until } = require('./rig.js')

const { InvalidInput, LeaseLost } = leasehold
const HOUR = 3_600_000
const REST = 0.95 * HOUR
let client

before(async () => { client = await leasehold.connect('memory:') })
after(() => client.close())

const isRested = ({ ran, why, nextIn }) => !ran && why === 'rested' && nextIn <= REST && nextIn > REST - 60_000

test('a function is run once and then skipped', async () => {
  const name = newName()
  const once = client.once(name, { every: HOUR })
  const done = await once.run(async ({ fence, signal, lease }) => {
    assert.deepEqual([typeof fence, signal.aborted, lease.name, lease.isValid], ['bigint', false, name, true])
    return 7
  })
  assert.deepEqual(done, { ran: true, value: 7 })
  assert.ok(isRested(await once.run(() => assert.fail('it runs'))))
  const { holder } = await client.status(name)
  assert.ok(holder.resting && holder.freeIn <= REST)
  assert.equal(await client.breakLock(name), true)
  assert.deepEqual(await once.run(() => {}), { ran: true, value: undefined })
  assert.match(inspect(once), new RegExp(name))
})

test('what throws is free at once', async () => {
  const name = newName()
  const once = client.once(name, { every: HOUR })
  const failed = once.run(async () => { throw new Error('no paper') })
  await assert.rejects(failed, /no paper/)
  assert.equal(await client.status(name), null)
  assert.equal((await once.run(() => 1)).value, 1)
})

test('what runs is skipped, and a loss is a failure', async () => {
  const name = newName()
  const once = client.once(name, { every: HOUR })
  await assert.rejects(once.run(async () => {
    assert.equal((await once.run(() => {})).why, 'running')
    await client.breakLock(name)
    await new Promise(() => {})
  }), LeaseLost)
  assert.equal(await client.status(name), null)
})

test('one that is aborted before it begins leaves nothing', async () => {
  const name = newName()
  const reason = new Error('enough')
  const run = client.once(name, { every: HOUR }).run(() => assert.fail('it runs'), { signal: AbortSignal.abort(reason) })
  await assert.rejects(run, reason)
  assert.equal(await client.status(name), null)
})

test('each slot is run once', async () => {
  const name = newName()
  const run = (slot) => client.once(name, { slot }).run(({ lease }) => lease.name)
  assert.equal((await run('2026-11-27')).value, `${name}@2026-11-27`)
  assert.equal((await run('2026-11-28')).ran, true)
  assert.ok((await run('2026-11-27')).nextIn > 6 * 24 * HOUR)
})

test('an interval, slot or body that cannot be', async () => {
  for (const options of [{}, { every: 500 }, { every: -1 }, { every: 401 * 24 * HOUR }, { slot: 'a@b' }, { slot: '' }, { wait: 1 }]) {
    assert.throws(() => client.once('x', options), InvalidInput)
  }
  await assert.rejects(client.once('x', { every: HOUR }).run(7), InvalidInput)
})

test('a lock rests until its minHold is over', async () => {
  const name = newName()
  const lock = client.lock(name, { minHold: 300 })
  const fence = await lock.run(async ({ fence }) => fence)
  assert.equal((await client.status(name)).holder.resting, true)
  assert.equal(await client.lock(name).tryAcquire(), null)
  await client.lock(name, { wait: 10_000 }).run((next) => assert.ok(next.fence > fence))
  await until(async () => (await client.status(name)) === null)
  const wrong = [{ minHold: 2_000, maxHold: 1_000 }, { minHold: 1, shared: true }, { minHold: 401 * 24 * HOUR }]
  for (const options of wrong) assert.throws(() => client.lock('x', options), { code: 'invalid' })
})

test('a body that only returns what would do the work has not done it', async () => {
  const name = newName()
  const ways = [
    (body) => client.once(name, { every: HOUR }).run(body),
    (body) => client.lock(name).run(body),
    (body) => client.locks([name]).run(body),
    (body) => client.election(name).lead(body),
  ]
  const helper = [1].values().map?.((one) => one)
  const lazy = [function* () { yield 1 }, async function* () { yield 1 }, ...(helper ? [() => helper] : [])]
  for (const run of ways) {
    for (const body of lazy) {
      await assert.rejects(run(body), { code: 'invalid', message: /has not run yet; iterate over it in the body/ })
      assert.equal(await client.status(name), null)
    }
  }
  assert.deepEqual(await client.lock(name).run(() => [1].values().next()), { value: 1, done: false })
  // What is to be awaited is, however deep.
  const thenable = { then: (resolve) => resolve(Promise.resolve(7)) }
  assert.equal(await client.lock(name).run(async () => thenable), 7)
})
