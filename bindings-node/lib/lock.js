'use strict'

const { inspect } = require('node:util')
const { call } = require('./calls.js')
const { InvalidInput, LeaseLost } = require('./errors.js')
const { Lease } = require('./lease.js')
const { checkOptions } = require('./options.js')

/** A name and options; see index.d.ts for all of it. */
class Lock {
  #name
  #native
  #client

  constructor(name, native, client) {
    this.#name = name
    this.#native = native
    // While there is a lock there is a client, which is closed when the program ends.
    this.#client = client
  }

  get name() { return this.#name }

  async acquire(options = {}) {
    const { signal } = checkOptions(options, ['signal'])
    return new Lease(await call((id) => this.#native.acquire(id, true), signal), this)
  }

  async tryAcquire() {
    const lease = await call((id) => this.#native.acquire(id, false))
    return lease === null ? null : new Lease(lease, this)
  }

  async run(body, options) {
    if (typeof body !== 'function') {
      throw new InvalidInput(`run() takes a function, not ${inspect(body)}`)
    }
    const lease = await this.acquire(options)
    const controller = new AbortController()
    const lost = new Promise((_, reject) => lease.lost.then(() => checkLoss(lease)).catch(reject))
    lost.catch((error) => controller.abort(error))
    const work = async () => body({ fence: lease.fence, signal: controller.signal, lease })
    let result
    try {
      result = await Promise.race([lost, work()])
    } catch (error) {
      // The body's own error says more than what becomes of the release.
      await lease.release().catch(() => {})
      throw error
    }
    // Throws if the body was not done under the lock.
    await lease[Symbol.asyncDispose]()
    return result
  }
}

/** Throws LeaseLost if it was lost; that the body has released it is no harm. */
function checkLoss(lease) {
  try {
    lease.check()
  } catch (error) {
    if (error instanceof LeaseLost) throw error
  }
}

module.exports = { Lock }
