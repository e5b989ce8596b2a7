'use strict'
// Who waits for whom in a circle, seen from two clients of one server.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { LONG, Redis, leasehold, newName, until } = require('./rig.js')

let redis
let one
let other

before(async () => {
  redis = await Redis.start()
  one = await leasehold.connect(redis.url, { label: 'one', ttl: LONG })
  other = await leasehold.connect(redis.url, { label: 'other', ttl: LONG })
})
after(async () => {
  await Promise.all([one.close(), other.close()])
  redis.stop()
})

test('two clients that wait for each other are a circle', async () => {
  const [a, b] = [newName(), newName()]
  const [held, otherHeld] = [await one.lock(a).acquire(), await other.lock(b).acquire()]
  const waiting = one.lock(b).acquire()
  const otherWaiting = other.lock(a).acquire()
  // They are one process, which one of the two waits alone makes a circle of.
  const circle = await until(async () => (await other.deadlocks()).find(({ waits }) => waits.length === 2))
  const told = circle.waits.map(({ lock, waiter, holder }) => [lock, waiter.split(' ')[1], holder.split(' ')[1]])
  assert.deepEqual(told, [[a, 'other', 'one'], [b, 'one', 'other']])
  assert.deepEqual(JSON.parse(JSON.stringify(await one.deadlocks())), [{ waits: circle.waits }])
  await readme(new RegExp(`one waits for ${b}, held by`))
  await held.release()
  await (await otherWaiting).release()
  await otherHeld.release()
  await (await waiting).release()
})

async function readme(expected) {
  const text = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8')
  const [, program] = /\*\*A circle.*\n\n```js\n([\s\S]*?)```/.exec(text)
  const lines = []
  await new (async () => {}).constructor('client', 'console', program)(one, { log: (line) => lines.push(line) })
  assert.match(lines.join('\n'), expected)
  assert.ok(program.trimEnd().split('\n').length <= 8)
}

test('what waits behind a lease of its own client is seen by that client alone', async () => {
  const name = newName()
  const held = await one.lock(name).acquire()
  const waiting = one.lock(name).acquire()
  await until(async () => (await one.status(name)).waiters.length)
  assert.equal((await one.deadlocks()).length, 1)
  assert.deepEqual(await other.deadlocks(), [])
  await held.release()
  await (await waiting).release()
})
