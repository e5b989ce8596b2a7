'use strict'
// Leases that are handed to another process.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { leasehold, LONG, assertFree, newName, start } = require('./rig.js')

const { InvalidInput, LeaseLost, NotHeld, Refused, Unsupported } = leasehold
let client, directory, url

before(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tickets-'))
  url = `sqlite:${directory}/locks.db`
  client = await leasehold.connect(url)
})
after(async () => {
  await client.close()
  fs.rmSync(directory, { recursive: true })
})

const GIVES = `
  const main = async () => {
    const client = await leasehold.connect(process.argv[2])
    const lease = await client.lock(process.argv[3]).acquire()
    console.log(String(lease.fence), await lease.intoTicket({ valid: 60_000 }), 'given')
    process.stdin.resume()
  }
  main()`
const ADOPTS = `
  const main = async () => {
    const client = await leasehold.connect(process.argv[2])
    const lease = await client.adopt(process.argv[4], { name: process.argv[3] })
    console.log(String(lease.fence), lease.isValid, 'adopted')
    process.stdin.on('end', () => lease.release()).resume()
  }
  main()`

for (const isKilled of [false, true]) {
  test(`a program adopts what another gave that is ${isKilled ? 'killed' : 'alive'}`, async () => {
    const name = newName()
    const giver = start(GIVES, url, name)
    await giver.says('given')
    const [fence, ticket] = giver.said.out.split(' ')
    if (isKilled) {
      giver.kill('SIGKILL')
      await giver.ended
    }
    assert.equal(await client.lock(name).tryAcquire(), null)
    const adopter = start(ADOPTS, url, name, ticket)
    await adopter.says('adopted')
    assert.match(adopter.said.out, new RegExp(`^${fence} true`))
    assert.equal(await client.lock(name).tryAcquire(), null)
    await assert.rejects(client.adopt(ticket), (error) => error instanceof LeaseLost && error.lock === name)
    adopter.stdin.end()
    assert.equal((await adopter.ended).code, 0)
    await assertFree(client, name)
    giver.stdin.end()
    await giver.ended
  })
}

test('whoever has handed a lease on holds nothing', async () => {
  const name = newName()
  const lease = await client.lock(name, { ttl: LONG }).acquire()
  const ticket = await lease.intoTicket()
  assert.deepEqual([typeof ticket, lease.isValid, await lease.lost], ['string', false, null])
  assert.throws(() => lease.check(), NotHeld)
  await assert.rejects(lease.intoTicket(), NotHeld)
  await lease.release()
  assert.equal(await client.lock(name).tryAcquire(), null)
  const adopted = await client.adopt(ticket)
  assert.deepEqual([adopted.name, adopted.fence, adopted.ttl], [name, lease.fence, LONG])
  await adopted.release()
  await assertFree(client, name)
})

test('a body that hands its lease on has done its work', async () => {
  const name = newName()
  const ticket = await client.lock(name).run(({ lease }) => lease.intoTicket())
  assert.equal(await client.lock(name).tryAcquire(), null)
  await (await client.adopt(ticket)).release()
})

test('what is told of it', async () => {
  const other = await leasehold.connect('memory:')
  const told = []
  const reading = (async () => { for await (const { what } of other.events()) told.push(what) })()
  const lease = await other.lock('x').acquire()
  await (await other.adopt(await lease.intoTicket())).release()
  await other.close()
  await reading
  assert.deepEqual(told, ['acquired', 'handed_on', 'adopted', 'released'])
})

test('a ticket that is not good', async () => {
  const name = newName()
  const ticket = await (await client.lock(name, { ttl: LONG }).acquire()).intoTicket()
  await assert.rejects(client.adopt(ticket, { name: 'another' }), Refused)
  for (const text of [ticket.slice(0, -3), `${ticket}A`, '', 'lh1.', '\ud800', null, 7]) {
    await assert.rejects(client.adopt(text), InvalidInput, String(text))
  }
  await assert.rejects(client.adopt('lh9.whatever'), /upgrade/)
  await assert.rejects(client.adopt(ticket, { naem: name }), InvalidInput)
  const other = await leasehold.connect('memory:')
  await assert.rejects(other.adopt(ticket), /sqlite.*memory/)
  await other.close()
  const lease = await client.lock(newName()).acquire()
  for (const valid of [0, 99, 86_400_001, -1, Infinity, '1h']) {
    await assert.rejects(lease.intoTicket({ valid }), InvalidInput, String(valid))
  }
  assert.ok(lease.isValid)
  await lease.release()
  await (await client.adopt(ticket, { name })).release()
})

test('several locks cannot be handed on', async () => {
  const leases = await client.locks([newName(), newName()]).acquire()
  await assert.rejects(leases.intoTicket(), Unsupported)
  assert.ok(leases.isValid)
  await leases.release()
})
