'use strict'
// The face of leasehold in Node, for scenarios: does what a line of JSON says, answers
// with a line. It knows no time and repeats nothing.
//
//     LEASEHOLD_NODE_PACKAGE=FOLDER node node.js
//
// FOLDER is that of the installed package.

const readline = require('node:readline')
const { connect, LeaseholdError } = require(process.env.LEASEHOLD_NODE_PACKAGE)

const SPANS = { ttl: 'ttl', wait: 'wait', max_hold: 'maxHold' }
const OTHERS = { auto_renew: 'autoRenew', label: 'label', shared: 'shared', permits: 'permits', value: 'value' }

/** What the body of a block fails with when it is told to. */
class OwnFailure extends Error {}

let client = null
const leases = new Map()
const terms = new Map()
/** What cancels a call, and what ends a block, by the number of the call. */
const running = new Map()
const working = new Map()

const verbs = {
  async connect({ url, ...request }) {
    client = await connect(url, optionsOf(request))
  },
  async acquire(request, signal) {
    return keep(request.lease, await lockOf(request).acquire({ signal }))
  },
  async try(request) {
    return keep(request.lease, await lockOf(request).tryAcquire())
  },
  async work(request, signal) {
    const finish = new Promise((resolve) => working.set(request.id, resolve))
    await lockOf(request).run(
      async ({ lease }) => {
        say({ id: request.id, began: { lease: shown(lease) } })
        // The body stops when it is cancelled; run() sees to a loss by itself.
        const raises = await Promise.race([finish, aborted(signal)])
        if (raises) throw new OwnFailure()
      },
      { signal },
    )
  },
  async give({ lease }) {
    return { ticket: await leases.get(lease).intoTicket() }
  },
  async adopt({ lease, ticket }) {
    return keep(lease, await client.adopt(ticket))
  },
  async once({ lock, every }) {
    const { ran } = await client.once(lock, { every: every * 1000 }).run(() => {})
    return { ran }
  },
  async campaign({ lock, lease, ...request }, signal) {
    const election = client.election(lock, optionsOf(request))
    terms.set(lease, await election.campaign({ signal }))
  },
  async resign({ lease }) {
    await terms.get(lease).resign()
    terms.delete(lease)
  },
  async leader({ lock }) {
    const leader = await client.election(lock).leader()
    return { value: leader && leader.value }
  },
  async release({ lease }) {
    await leases.get(lease).release()
  },
  async renew({ lease }) {
    await leases.get(lease).renew()
  },
  async drop({ lease }) {
    leases.delete(lease)
    await collected()
  },
  async look({ lease }) {
    return { lease: shown(leases.get(lease)) }
  },
  async lost({ lease }, signal) {
    return { why: await Promise.race([leases.get(lease).lost, aborted(signal)]) }
  },
  async status({ lock }) {
    const status = await client.status(lock)
    if (status === null) return { status }
    const { fence, holder, waiters } = status
    return { status: { fence, holder: holder && holder.label, waiters } }
  },
  async list() {
    return { locks: (await client.list()).map((status) => status.name) }
  },
  async break({ lock }) {
    return { was_held: await client.breakLock(lock) }
  },
  async close() {
    await client.close()
  },
}

async function handle(request) {
  const { id } = request
  const controller = new AbortController()
  running.set(id, controller)
  try {
    const verb = verbs[request.do]
    if (!verb) throw new Error(`${request.do} is unknown here`)
    say({ id, ok: (await verb(request, controller.signal)) ?? {} })
  } catch (error) {
    const fail = (code, outcome = null) => say({ id, error: { code, outcome, message: `${error}` } })
    if (error instanceof LeaseholdError) fail(error.code, error.outcome)
    else if (error instanceof OwnFailure) fail('own')
    else if (error === controller.signal.reason) fail('cancelled')
    else fail('shim')
  } finally {
    running.delete(id)
    working.delete(id)
  }
}

function optionsOf(request) {
  const options = {}
  for (const [word, name] of Object.entries(SPANS)) {
    if (word in request) options[name] = request[word] * 1000
  }
  for (const [word, name] of Object.entries(OTHERS)) {
    if (word in request) options[name] = request[word]
  }
  return options
}

function lockOf(request) {
  return client.lock(request.lock, optionsOf(request))
}

function keep(name, lease) {
  if (lease !== null) leases.set(name, lease)
  return { lease: lease && shown(lease) }
}

/** Rejects when a call is cancelled, for what takes no signal itself. */
function aborted(signal) {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

/** Node collects garbage when it likes; a finalizer runs after that, in its own turn. */
async function collected() {
  await new Promise((resolve) => setImmediate(resolve))
  globalThis.gc()
  await new Promise((resolve) => setImmediate(resolve))
}

function shown(lease) {
  const { fence, ttl, remaining, isValid, loss, key, slot } = lease
  const times = { ttl: ttl / 1000, remaining: remaining / 1000 }
  return { fence, ...times, valid: isValid, lost: loss, key, slot }
}

function say(line) {
  // JSON has no bigint, and a number of JavaScript's is not large enough for a fence.
  const text = JSON.stringify(line, (_, value) => (typeof value === 'bigint' ? `#${value}#` : value))
  process.stdout.write(text.replace(/"#(\d+)#"/g, '$1') + '\n')
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line)
  if (request.do === 'cancel') running.get(request.call)?.abort()
  else if (request.do === 'finish') working.get(request.call)?.(request.raise)
  else handle(request)
})
