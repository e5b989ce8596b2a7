import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as leasehold from 'leasehold'

let client
before(async () => (client = await leasehold.connect(process.env.LEASEHOLD_URL)))
after(() => client.close())

test('a lock is held while a body runs', async () => {
  const held = await client.lock('node-test', { wait: 20_000 }).run(({ lease }) => lease.isValid)
  assert.equal(held, true)
})

test('fake timers change nothing', async (t) => {
  t.mock.timers.enable()
  for (let turn = 0; turn < 500; turn++) await (await client.lock('many').acquire()).release()
})

// It keeps nothing alive, and is given back at the end.
test('what a test forgets does not keep the run', async () => {
  globalThis.forgotten = await (await leasehold.connect('memory:')).lock('forgotten').acquire()
})
