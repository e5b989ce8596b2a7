'use strict'
// What JSON, console.log and structuredClone make of what the package gives.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { inspect } = require('node:util')
const { leasehold, LONG } = require('./rig.js')

/** As JSON has it: times change meanwhile. */
const plain = (object) => JSON.parse(JSON.stringify(object))

test('what holds a fence can be told in JSON, where it is a text', async () => {
  const client = await leasehold.connect('memory:')
  const events = client.events()
  const lease = await client.lock('a', { ttl: LONG, label: 'me' }).acquire()
  const fence = `${lease.fence}`
  const status = await client.status('a')
  assert.deepEqual([plain(status).fence, plain(status).name, plain(status).waiters], [fence, 'a', []])
  assert.equal(plain(status).holder.label, status.holder.label)
  assert.deepEqual([plain(status).holder.fence, plain(status).holders[0].fence], [fence, fence])
  assert.deepEqual(plain({ all: await client.list() }).all.map((one) => one.fence), [fence])
  assert.equal(await client.status('b'), null)
  const { value: event } = await events.next()
  assert.deepEqual(plain(event), { ...event, fence })
  const { remaining, ...told } = plain(lease)
  assert.deepEqual(told, { name: 'a', fence, key: null, slot: null, ttl: LONG, isValid: true, loss: null })
  assert.ok(remaining > LONG / 2 && remaining < LONG)
  await lease.release()
  assert.deepEqual(plain(lease), { ...told, remaining: 0, isValid: false })
  await client.lock('b').run((held) => {
    assert.deepEqual([plain(held).fence, plain(held).name], [`${held.fence}`, 'b'])
    assert.deepEqual(Object.keys(held), ['fence', 'signal', 'lease'])
  })
  for (const rest of [client, client.lock('a'), new leasehold.LeaseLost('x')]) JSON.stringify(rest)
  await client.close()
})

test('a status and an event can be cloned and compared, their form in JSON is in nobody\'s way', async () => {
  const client = await leasehold.connect('memory:')
  const events = client.events()
  const lease = await client.lock('a').acquire()
  for (const object of [await client.status('a'), (await events.next()).value]) {
    assert.deepEqual(structuredClone(object), object)
    assert.equal(structuredClone(object).fence, lease.fence)
    assert.ok(!Object.keys(object).includes('toJSON'))
    assert.doesNotMatch(inspect(object), /toJSON/)
    assert.match(inspect(object), new RegExp(`fence: ${lease.fence}n`))
  }
  await client.close()
})

test('console.log shows what it is, and no password', async () => {
  const client = await leasehold.connect('memory:')
  const lock = client.lock('a')
  const lease = await lock.acquire()
  assert.equal(inspect(client), "Client { backend: 'memory:' }")
  assert.equal(inspect(lock), "Lock { name: 'a' }")
  assert.match(inspect(lease), new RegExp(`^Lease \\{\\s+name: 'a',\\s+fence: ${lease.fence}n,\\s+key: null,`))
  const nested = inspect({ deep: { deeper: { deepest: { lease } } } })
  assert.ok(nested.length < 500, nested)
  for (const kind of [leasehold.Client, leasehold.Lock, leasehold.Lease]) {
    assert.match(inspect(Object.create(kind.prototype)), new RegExp(`^${kind.name} \\{\\}`))
  }
  await client.close()
  assert.match(inspect(lease), /isValid: false,\s+loss: 'closed'/)
})
