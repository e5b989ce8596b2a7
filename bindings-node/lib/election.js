'use strict'

const { inspect } = require('node:util')
const { call } = require('./calls.js')
const { InvalidInput, LeaseLost } = require('./errors.js')
const { Lease } = require('./lease.js')
const { HOLDS, Lock, SHOWS } = require('./lock.js')
const { checkValue } = require('./options.js')
const parts = require('./native.js')
const { show } = require('./shown.js')

/** A term of a leader; see index.d.ts for all of it. */
class Term extends Lease {
  #native

  constructor(native, lock) {
    super(native, lock)
    this.#native = native
  }

  get number() { return this.fence }

  async proclaim(value) { await call((id) => this.#native.proclaim(id, checkValue(value))) }

  async resign() { await this.release() }

  [inspect.custom](depth, options, inspect) {
    return super[inspect.custom](depth, options, inspect).replace('Lease', 'Term')
  }
}

/** What is taken to campaign. */
class Campaign extends Lock {
  [HOLDS](native) { return new Term(native, this) }

  [SHOWS](term, signal) { return { term, signal } }
}

/** An election; see index.d.ts for all of it. */
class Election {
  #native
  #campaign

  constructor(native, client) {
    if (!(native instanceof parts.Election)) throw new TypeError('an Election is made by a client only')
    this.#native = native
    this.#campaign = new Campaign(native.lock(), client)
  }

  get name() { return this.#campaign.name }

  async campaign(options) { return this.#campaign.acquire(options) }

  async lead(body, options) {
    if (typeof body !== 'function') throw new InvalidInput(`lead() takes a function, not ${inspect(body)}`)
    for (;;) {
      let [term, done] = []
      // The next campaign begins when the body has ended, not when it is told to.
      const work = (held) => {
        term = held.term
        return (done = (async () => body(held))())
      }
      try {
        return await this.#campaign.run(work, options)
      } catch (error) {
        await done?.catch(() => {})
        if (!(error instanceof LeaseLost) || (term?.loss ?? null) === null) throw error
      }
    }
  }

  async leader() {
    const leader = await call((id) => this.#native.leader(id))
    return leader && shown(leader)
  }

  observe() { return iterate(this.#native.observe()) }

  [inspect.custom](_, options, inspect) {
    return show('Election', #native in this ? { name: this.name } : {}, options, inspect)
  }
}

/** Not a generator: that would end with an outage, which it tells. */
function iterate(leaders) {
  const end = new AbortController()
  const { signal } = end
  return {
    async next() {
      if (signal.aborted) return { done: true, value: undefined }
      try {
        const leader = await call((id) => leaders.next(id), signal)
        return { done: false, value: leader && shown(leader) }
      } catch (error) {
        if (signal.aborted) return { done: true, value: undefined }
        throw error
      }
    },
    async return(value) {
      end.abort()
      return { done: true, value }
    },
    [Symbol.asyncIterator]() { return this },
  }
}

/** JSON has no bigint. */
function shown(leader) {
  return Object.defineProperty(leader, 'toJSON', { value: () => ({ ...leader, term: String(leader.term) }) })
}

module.exports = { Election, Term }
