'use strict'

const { inspect } = require('node:util')
const { call } = require('./calls.js')
const { InvalidInput } = require('./errors.js')
const { Lease } = require('./lease.js')
const { work } = require('./lock.js')
const { checkOptions } = require('./options.js')
const parts = require('./native.js')
const { show } = require('./shown.js')

/** Work that is done once per interval; see index.d.ts for all of it. */
class Once {
  #native
  #name
  #client

  constructor(native, name, client) {
    if (!(native instanceof parts.Once)) throw new TypeError('a Once is made by a client only')
    this.#native = native
    this.#name = name
    // While there is one there is a client, which is closed when the program ends.
    this.#client = client
  }

  get name() { return this.#name }

  async run(body, options = {}) {
    if (typeof body !== 'function') {
      throw new InvalidInput(`run() takes a function, not ${inspect(body)}`)
    }
    const { signal } = checkOptions(options, ['signal'])
    const begun = await call((id) => this.#native.begin(id), signal)
    if (!(begun instanceof parts.Lease)) return { ran: false, ...begun }
    const lease = new Lease(begun, { name: begun.fences[0].name, client: this.#client })
    const shows = (signal) => ({ fence: lease.fence, signal, lease })
    return { ran: true, value: await work(lease, shows, body, () => begun.succeed()) }
  }

  [inspect.custom](_, options, inspect) {
    return show('Once', #native in this ? { name: this.name } : {}, options, inspect)
  }
}

module.exports = { Once }
