'use strict'

const { inspect } = require('node:util')
const { call } = require('./calls.js')
const { InvalidInput } = require('./errors.js')
const { Lease } = require('./lease.js')
const { checkOptions } = require('./options.js')

/** A name and options; see index.d.ts for all of it. */
class Lock {
  #native

  constructor(name, native) {
    this.name = name
    this.#native = native
  }

  async acquire(options = {}) {
    const { signal } = checkOptions(options, ['signal'])
    return new Lease(await call((id) => this.#native.acquire(id), { signal }))
  }

  async tryAcquire() {
    const lease = await call((id) => this.#native.tryAcquire(id))
    return lease === null ? null : new Lease(lease)
  }

  async run(body, options) {
    if (typeof body !== 'function') {
      throw new InvalidInput(`run() takes a function, not ${inspect(body)}`)
    }
    const lease = await this.acquire(options)
    const controller = new AbortController()
    const { signal } = controller
    const lost = new Promise((_, reject) => {
      lease.lost.then((reason) => {
        if (reason === null) return
        const error = lossOf(lease)
        reject(error)
        controller.abort(error)
      })
    })
    const work = async () => body({ fence: lease.fence, signal, lease })
    try {
      const result = await Promise.race([lost, work()])
      // While the body keeps JavaScript busy, word of a loss does not come.
      if (lease.loss !== null) throw lossOf(lease)
      return result
    } finally {
      // The body's own result or error counts, whatever becomes of the release.
      await lease.release().catch(() => {})
    }
  }
}

function lossOf(lease) {
  try {
    lease.check()
  } catch (error) {
    return error
  }
}

module.exports = { Lock }
