'use strict'
// Elections: terms, the values that leaders show, and those who look on.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { inspect } = require('node:util')
const { leasehold, until } = require('./rig.js')

const { ClientClosed, InvalidInput, LeaseLost, NotHeld, Refused, Term } = leasehold
let client

before(async () => { client = await leasehold.connect('memory:') })
after(() => client.close())

test('a leader shows a value and proclaims another', async () => {
  const election = client.election('x', { value: '10.0.0.7:8080' })
  assert.equal(await election.leader(), null)
  const term = await election.campaign()
  assert.ok(term instanceof Term && term instanceof leasehold.Lease)
  const leader = await election.leader()
  assert.deepEqual([leader.value, leader.term, term.number], ['10.0.0.7:8080', term.fence, term.fence])
  assert.ok(leader.label.endsWith(' 10.0.0.7:8080') && leader.freeIn > 0 && leader.freeIn <= term.ttl)
  assert.equal(JSON.parse(JSON.stringify(leader)).term, String(term.number))
  assert.match(inspect(term), /^Term /)
  assert.match(inspect(election), /^Election .*'x'/)
  await term.proclaim('b')
  assert.equal((await election.leader()).value, 'b')
  await assert.rejects(term.proclaim('a\nb'), InvalidInput)
  await assert.rejects(term.proclaim(7), InvalidInput)
  await term.resign()
  assert.equal(await election.leader(), null)
  await assert.rejects(term.proclaim('late'), NotHeld)
})

test('what an election cannot be is refused', async () => {
  for (const wrong of [{ value: 'v'.repeat(257) }, { ttl: 0 }, { label: 'l' }, { value: 7 }]) {
    assert.throws(() => client.election('x', wrong), InvalidInput)
  }
  assert.throws(() => client.election(''), InvalidInput)
  assert.throws(() => new leasehold.Election({}), TypeError)
  await assert.rejects(client.election('x').lead(7), InvalidInput)
  await client.lock('shared', { shared: true }).run(() =>
    assert.rejects(client.election('shared').leader(), (error) => {
      return error instanceof Refused && /name of its own/.test(error.message)
    }))
})

test('a body has ended before the next campaign begins', async () => {
  const election = client.election('again', { value: 'a' })
  const terms = []
  let atWork = 0
  const done = await election.lead(async ({ term, signal }) => {
    assert.equal(atWork++, 0)
    terms.push(term.number)
    if (terms.length < 3) {
      await client.breakLock('again')
      // It may have come before the answer.
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve))
      await new Promise((resolve) => setTimeout(resolve, 20))
      assert.ok(signal.reason instanceof LeaseLost)
    }
    atWork -= 1
    return 'done'
  })
  assert.deepEqual([done, terms.length, atWork], ['done', 3, 0])
  assert.ok(terms[0] < terms[1] && terms[1] < terms[2])
  assert.equal(await election.leader(), null)
})

test('what a body throws ends the lead, and so does a signal', async () => {
  const election = client.election('x')
  await assert.rejects(election.lead(() => { throw new RangeError('mine') }), RangeError)
  await assert.rejects(election.lead(() => client.lock('y').run(() => client.breakLock('y'))), { lock: 'y', code: 'lost' })
  assert.equal(await election.leader(), null)
  const term = await election.campaign()
  const controller = new AbortController()
  const waits = election.lead(() => {}, { signal: controller.signal })
  await until(async () => (await client.status('x')).waiters.length === 1)
  controller.abort(new RangeError('no more'))
  await assert.rejects(waits, RangeError)
  await term.resign()
  assert.equal(await client.status('x'), null)
})

test('observers are told of each leader and of nobody', async () => {
  const election = client.election('seen', { value: 'a' })
  const seen = []
  let term
  for await (const leader of election.observe()) {
    seen.push(leader && leader.value)
    if (seen.length === 1) term = await election.campaign()
    else if (seen.length === 2) await term.proclaim('b')
    else if (seen.length === 3) await term.resign()
    else break
  }
  assert.deepEqual(seen, [null, 'a', 'b', null])
})

test('who ends an observer ends its call that waits', async () => {
  const leaders = client.election('unseen').observe()
  assert.deepEqual(await leaders.next(), { done: false, value: null })
  const waits = leaders.next()
  assert.deepEqual(await leaders.return(7), { done: true, value: 7 })
  assert.deepEqual(await waits, { done: true, value: undefined })
})

test('an observer ends with its client', async () => {
  const own = await leasehold.connect('memory:')
  const leaders = own.election('x').observe()
  assert.deepEqual(await leaders.next(), { done: false, value: null })
  const told = assert.rejects(leaders.next(), ClientClosed)
  await own.close()
  await told
  await leaders.return()
  assert.deepEqual(await leaders.next(), { done: true, value: undefined })
})
