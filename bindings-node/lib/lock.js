'use strict'

const { inspect, types } = require('node:util')
const { call } = require('./calls.js')
const { InvalidInput, LeaseLost } = require('./errors.js')
const { Lease, Leases } = require('./lease.js')
const { checkOptions } = require('./options.js')
const parts = require('./native.js')
const { jsonable, show } = require('./shown.js')

/** What a lock gives to whoever takes it, and what to the body of run(). */
const [HOLDS, SHOWS] = [Symbol('holds'), Symbol('shows')]

/** A name and options; see index.d.ts for all of it. */
class Lock {
  #native
  #client

  constructor(native, client) {
    if (!(native instanceof parts.Lock)) throw new TypeError('a Lock is made by a client only')
    this.#native = native
    // While there is a lock there is a client, which is closed when the program ends.
    this.#client = client
  }

  get name() { return this.#native.names[0] }

  async acquire(options = {}) {
    const { signal } = checkOptions(options, ['signal'])
    return this[HOLDS](await call((id) => this.#native.acquire(id, true), signal))
  }

  async tryAcquire() {
    const lease = await call((id) => this.#native.acquire(id, false))
    return lease === null ? null : this[HOLDS](lease)
  }

  [HOLDS](native) { return new Lease(native, this) }

  async run(body, options) {
    if (typeof body !== 'function') {
      throw new InvalidInput(`run() takes a function, not ${inspect(body)}`)
    }
    const lease = await this.acquire(options)
    return work(lease, (signal) => this[SHOWS](lease, signal), body)
  }

  [SHOWS](lease, signal) { return { fence: lease.fence, signal, lease } }

  [inspect.custom](_, options, inspect) {
    return show('Lock', #native in this ? { name: this.name } : {}, options, inspect)
  }
}

/** Several names and options; see index.d.ts for all of it. */
class Locks extends Lock {
  #native

  constructor(native, client) {
    super(native, client)
    this.#native = native
  }

  get name() { return undefined }
  get names() { return this.#native.names }

  [HOLDS](native) { return new Leases(native, this) }

  [SHOWS](leases, signal) { return { fences: leases.fences, signal, leases } }

  [inspect.custom](_, options, inspect) {
    return show('Locks', #native in this ? { names: this.names } : {}, options, inspect)
  }
}

/** Do the body under a lease, and give that back; `succeeds` is told before, if it has. */
async function work(lease, shows, body, succeeds = () => {}) {
  const controller = new AbortController()
  const lost = new Promise((_, reject) => lease.lost.then(() => checkLoss(lease)).catch(reject))
  lost.catch((error) => controller.abort(error))
  const held = shows(controller.signal)
  const done = async () => body(jsonable(held, () => lease.toJSON()))
  let result
  try {
    result = checkDone(await Promise.race([lost, done()]))
  } catch (error) {
    // The body's own error says more than what becomes of the release.
    await lease.release().catch(() => {})
    throw error
  }
  succeeds()
  // Throws if the body was not done under the lock.
  await lease[Symbol.asyncDispose]()
  return result
}

/** Throws if the body has returned what is yet to do its work: the lock must not be given back then. */
function checkDone(result) {
  // What iterators have their own `map` and `filter` for, as generators, is done when somebody iterates.
  const isLazy = types.isGeneratorObject(result) || String(result?.[Symbol.toStringTag]) === 'Iterator Helper'
  if (!isLazy) return result
  const what = types.isGeneratorObject(result) ? 'a generator' : 'an iterator helper'
  throw new InvalidInput(`the body returned ${what}, which has not run yet; iterate over it in the body`)
}

/** Throws LeaseLost if it was lost; that the body has released it is no harm. */
function checkLoss(lease) {
  try {
    lease.check()
  } catch (error) {
    if (error instanceof LeaseLost) throw error
  }
}

module.exports = { HOLDS, Lock, Locks, SHOWS, work }
