'use strict'

const { inspect } = require('node:util')
const { call } = require('./calls.js')
const { errorOf } = require('./errors.js')
const { checkOptions } = require('./options.js')
const parts = require('./native.js')
const { show, toJson } = require('./shown.js')

/** A lock that is held; see index.d.ts for all of it. */
class Lease {
  #native
  #lock
  #lost

  constructor(native, lock) {
    if (!(native instanceof parts.Lease)) throw new TypeError('a Lease is made by a lock only')
    this.#native = native
    // While there is a lease there is a client, which is closed when the program ends.
    this.#lock = lock
  }

  get name() { return this.#lock.name }
  get fence() { return this.#native.fence }
  get key() { return this.#native.key }
  get slot() { return this.#native.slot }
  get ttl() { return this.#native.ttl }
  get remaining() { return this.#native.remaining }
  get isValid() { return this.#native.check() === null }
  get loss() { return this.#native.loss }

  get lost() {
    // It never rejects: nobody has to wait for it.
    return (this.#lost ??= call((id) => this.#native.ended(id)).catch(() => this.loss))
  }

  check() {
    const failure = this.#native.check()
    if (failure) throw errorOf(failure)
  }

  guard() {
    const answer = this.#native.guard()
    if (typeof answer !== 'string') throw errorOf(answer)
    return answer
  }

  async renew(options = {}) {
    const { ttl } = checkOptions(options, ['ttl'])
    await call((id) => this.#native.renew(id, ttl))
  }

  async intoTicket(options = {}) {
    const { valid } = checkOptions(options, ['valid'])
    return call((id) => this.#native.intoTicket(id, valid))
  }

  async release() { await call((id) => this.#native.release(id)) }

  async [Symbol.asyncDispose]() { await call((id) => this.#native.finish(id)) }

  #fields() {
    const { name, fence, key, slot, ttl, remaining, isValid, loss } = this
    return { name, fence, key, slot, ttl, remaining, isValid, loss }
  }

  toJSON() { return toJson(this.#fields()) }

  [inspect.custom](_, options, inspect) {
    return show('Lease', #native in this ? this.#fields() : {}, options, inspect)
  }
}

/** Several locks that are held together; see index.d.ts for all of it. */
class Leases extends Lease {
  #native

  constructor(native, locks) {
    super(native, locks)
    this.#native = native
  }

  get name() { return undefined }
  get fence() { return undefined }
  get key() { return undefined }
  get slot() { return undefined }
  get names() { return this.#native.fences.map(({ name }) => name) }
  get fences() { return this.#each(({ fence }) => fence) }
  get keys() { return this.#each(({ key }) => key) }
  get slots() { return this.#each(({ slot }) => slot) }
  get lostName() { return this.#native.lostName }

  /** By name, of those that have it; a name may be anything, also `__proto__`. */
  #each(what) {
    const all = this.#native.fences.map((one) => [one.name, what(one)])
    return Object.fromEntries(all.filter(([, value]) => value !== null))
  }

  #fields() {
    const { fences, keys, slots, ttl, remaining, isValid, loss, lostName } = this
    return { fences, keys, slots, ttl, remaining, isValid, loss, lostName }
  }

  toJSON() {
    const fences = this.#each(({ fence }) => String(fence))
    return { ...this.#fields(), fences }
  }

  [inspect.custom](_, options, inspect) {
    return show('Leases', #native in this ? this.#fields() : {}, options, inspect)
  }
}

module.exports = { Lease, Leases }
