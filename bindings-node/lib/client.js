'use strict'

const { inspect } = require('node:util')
const { calls, call } = require('./calls.js')
const { Election } = require('./election.js')
const { errorOf } = require('./errors.js')
const { Lease } = require('./lease.js')
const { Lock, Locks } = require('./lock.js')
const { Once } = require('./once.js')
const { checkName, checkNames, checkOptions, checkTicket, checkUrl } = require('./options.js')
const parts = require('./native.js')
const { jsonable, show, toJson } = require('./shown.js')

const OF_A_CLIENT = ['ttl', 'delay', 'wait', 'maxHold', 'label']
const OF_A_LOCK = [...OF_A_CLIENT, 'minHold', 'autoRenew', 'shared', 'permits']
const OF_ONCE = ['every', 'slot', 'ttl', 'delay', 'maxHold', 'label']
const OF_AN_ELECTION = ['value', 'ttl', 'delay', 'wait', 'maxHold']

/** What is to be closed when the program ends, if somebody still has it. */
let open = []

/** An open connection to one backend; see index.d.ts for all of it. */
class Client {
  #native

  constructor(native) {
    if (!(native instanceof parts.Client)) throw new TypeError('a Client is made by connect() only')
    this.#native = native
  }

  lock(name, options = {}) {
    return new Lock(this.#lock([checkName(name)], options), this.#native)
  }

  locks(names, options = {}) {
    return new Locks(this.#lock(checkNames(names), options), this.#native)
  }

  once(name, options = {}) {
    const once = this.#native.once(checkName(name), checkOptions(options, OF_ONCE))
    const failure = once.check()
    if (failure) throw errorOf(failure)
    return new Once(once, name, this.#native)
  }

  #lock(names, options) {
    const lock = this.#native.lock(names, checkOptions(options, OF_A_LOCK))
    const failure = lock.check()
    if (failure) throw errorOf(failure)
    return lock
  }

  election(name, options = {}) {
    const election = this.#native.election(checkName(name), checkOptions(options, OF_AN_ELECTION))
    const failure = election.check()
    if (failure) throw errorOf(failure)
    return new Election(election, this.#native)
  }

  get backend() { return this.#native.backend }

  events() { return iterate(this.#native.events()) }

  caveats() { return this.#native.caveats() }

  async list() { return (await call((id) => this.#native.status(id))).map(told) }

  async status(name) {
    const [status = null] = await call((id) => this.#native.status(id, checkName(name)))
    return status && told(status)
  }

  async deadlocks() { return call((id) => this.#native.deadlocks(id)) }

  async breakLock(name) { return call((id) => this.#native.breakLock(id, checkName(name))) }

  async adopt(ticket, options = {}) {
    const { name } = checkOptions(options, ['name'])
    const native = await call((id) => this.#native.adopt(id, checkTicket(ticket), name))
    // While there is a lease there is a client, which is closed when the program ends.
    return new Lease(native, { name: native.fences[0].name, client: this.#native })
  }

  async close() { await call((id) => this.#native.close(id, false)) }

  async [Symbol.asyncDispose]() { await this.close() }

  [inspect.custom](_, options, inspect) {
    return show('Client', #native in this ? { backend: this.backend } : {}, options, inspect)
  }
}

/** With its form in JSON, where each holder has a fence, too. */
function told(status) {
  const holders = () => ({ holder: status.holder && toJson(status.holder), holders: status.holders.map(toJson) })
  return jsonable(status, () => ({ ...status, ...holders() }))
}

async function* iterate(events) {
  for (;;) {
    const event = await call((id) => events.next(id))
    if (event === null) return
    yield jsonable(event)
  }
}

async function connect(url = 'sqlite:', options = {}) {
  const checked = checkOptions(options, OF_A_CLIENT)
  const native = await call((id) => calls.connect(id, checkUrl(url), checked))
  open = [...open.filter((client) => client.deref()), new WeakRef(native)]
  return new Client(native)
}

// What is held is given back when the program has nothing more to do. Each is told once,
// so that this does not come again for ever.
process.on('beforeExit', () => {
  for (const client of open.splice(0).map((client) => client.deref())) {
    if (client) call((id) => client.close(id, true)).catch(() => {})
  }
})

module.exports = { Client, connect }
