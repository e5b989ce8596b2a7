'use strict'

const { calls, call } = require('./calls.js')
const { Lock } = require('./lock.js')
const { checkOptions, checkText } = require('./options.js')

const OF_A_CLIENT = ['ttl', 'wait', 'maxHold', 'label']
const OF_A_LOCK = [...OF_A_CLIENT, 'autoRenew']

/** An open connection to one backend; see index.d.ts for all of it. */
class Client {
  #native

  constructor(native) {
    this.#native = native
  }

  lock(name, options = {}) {
    const checked = checkOptions(options, OF_A_LOCK)
    return new Lock(name, this.#native.lock(checkText("a lock's name", name), checked))
  }

  get backend() { return this.#native.backend }

  caveats() { return this.#native.caveats() }

  async list() {
    return call((id) => this.#native.list(id))
  }

  async status(name) {
    checkText("a lock's name", name)
    const [status = null] = await call((id) => this.#native.status(id, name))
    return status
  }

  async breakLock(name) {
    checkText("a lock's name", name)
    return call((id) => this.#native.breakLock(id, name))
  }

  async close() {
    await call((id) => this.#native.close(id))
  }

  async [Symbol.asyncDispose]() {
    await this.close()
  }
}

async function connect(url = 'sqlite:', options = {}) {
  checkText('the URL', url)
  const checked = checkOptions(options, OF_A_CLIENT)
  return new Client(await call((id) => calls.connect(id, url, checked)))
}

module.exports = { Client, connect }
