'use strict'

const { call } = require('./calls.js')
const { errorOf } = require('./errors.js')

/** A lock that is held; see index.d.ts for all of it. */
class Lease {
  #native
  #lock
  #lost

  constructor(native, lock) {
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
}

module.exports = { Lease }
