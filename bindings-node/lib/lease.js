'use strict'

const { inspect } = require('node:util')
const { call } = require('./calls.js')
const { errorOf } = require('./errors.js')
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

  async renew() { await call((id) => this.#native.renew(id)) }
  async release() { await call((id) => this.#native.release(id)) }

  async [Symbol.asyncDispose]() { await call((id) => this.#native.finish(id)) }

  #fields() {
    const { name, fence, key, ttl, remaining, isValid, loss } = this
    return { name, fence, key, ttl, remaining, isValid, loss }
  }

  toJSON() { return toJson(this.#fields()) }

  [inspect.custom](_, options, inspect) {
    return show('Lease', #native in this ? this.#fields() : {}, options, inspect)
  }
}

module.exports = { Lease }
