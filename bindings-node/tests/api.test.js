'use strict'
// The package has what tests/api.toml says that every language has, and no more.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { pathToFileURL } = require('node:url')
const { test } = require('node:test')
const { leasehold, PACKAGE } = require('./rig.js')

const API = read(path.join(__dirname, '../../tests/api.toml'))
const OWN = { client: [], lock: ['name'], lease: ['toJSON'], once: ['name'] }

/** What of TOML that file uses, as far as it is needed here. */
function read(file) {
  const api = {}
  let table = api
  for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
    const heading = /^\[(.+)\]$/.exec(line)
    const pair = /^([\w.]+) = (.+)$/.exec(line)
    if (heading) table = within(api, heading[1].split('.'))
    else if (pair) {
      const words = pair[1].split('.')
      const value = pair[2].replace(/([{,] *)(\w+) =/g, '$1"$2":')
      within(table, words.slice(0, -1))[words.at(-1)] = JSON.parse(value)
    }
  }
  return api
}

function within(table, words) {
  return words.reduce((at, word) => (at[word] ??= {}), table)
}

const camel = (word) => word.replace(/_(\w)/g, (_, letter) => letter.toUpperCase())

function span(text) {
  const [, number, unit] = /^(\d+)(ms|s|h)$/.exec(text)
  return number * { ms: 1, s: 1_000, h: 3_600_000 }[unit]
}

for (const kind of ['client', 'lock', 'lease', 'once']) {
  test(`every operation of a ${kind} is there and no other`, async () => {
    const client = await leasehold.connect('memory:')
    const lock = client.lock('x')
    const once = client.once('x', { every: 60_000 })
    const subject = { client, lock, lease: await lock.acquire(), once }[kind]
    const shape = Object.getOwnPropertyNames(Object.getPrototypeOf(subject))
    const names = [...shape, ...Object.keys(subject)].filter((name) => name !== 'constructor')
    const expected = Object.keys(API[kind]).map(camel).filter((name) => name !== 'connect')
    assert.deepEqual(names.sort(), [...expected, ...OWN[kind]].sort())
    await client.close()
  })
}

test('every operation of an election and of a term is there and no other', () => {
  const names = ({ prototype }) => Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor').sort()
  assert.deepEqual(names(leasehold.Election), [...Object.keys(API.election), 'name'].sort())
  assert.deepEqual(names(leasehold.Term), Object.keys(API.term).sort())
})

test('several locks have what one has, and leases that are held together', async () => {
  const client = await leasehold.connect('memory:')
  const locks = client.locks(['b', 'a'])
  const leases = await locks.acquire()
  for (const name of Object.keys(API.lock).map(camel)) assert.equal(typeof locks[name], 'function')
  const together = Object.getOwnPropertyNames(leasehold.Leases.prototype)
  for (const name of Object.keys(API.leases).map(camel)) assert.ok(together.includes(name), name)
  for (const one of [leases.name, leases.fence, leases.key, leases.slot, locks.name]) assert.equal(one, undefined)
  await client.close()
})

for (const operation of ['connect', 'lock']) {
  test(`parameters, defaults and limits of ${operation}`, async () => {
    const client = await leasehold.connect('memory:')
    const { url: _, name, ...listed } = API.client[operation].parameters
    const known = { ttl: 1_000, delay: 1_000, wait: 1_000, max_hold: 1_000, min_hold: 1, auto_renew: false, shared: true, permits: 4, label: 'l' }
    const take = async (options, called = 'x') => {
      const own = operation === 'connect' ? await leasehold.connect('memory:', options) : client
      const lock = own.lock(called, operation === 'connect' ? {} : options)
      const lease = await lock.acquire()
      await lease.release()
      return lease
    }
    for (const [word, value] of Object.entries(known)) {
      const taken = take({ [camel(word)]: value })
      if (word in listed) await taken
      else await assert.rejects(taken, leasehold.InvalidInput)
    }
    for (const word of ['ttl', 'max_hold']) {
      await take({ [camel(word)]: span(listed[word].shortest) })
      await assert.rejects(take({ [camel(word)]: span(listed[word].shortest) / 2 }), { code: 'invalid' })
    }
    await take({ ttl: span(listed.ttl.longest) })
    await assert.rejects(take({ ttl: span(listed.ttl.longest) + 1 }), { code: 'invalid' })
    const longest = API.client.connect.parameters.label.longest_bytes
    await take({ label: 'l'.repeat(longest) })
    await assert.rejects(take({ label: 'l'.repeat(longest + 1) }), { code: 'invalid' })
    if (operation === 'lock') {
      const { least, most } = listed.permits
      for (const permits of [least, most]) await take({ permits })
      for (const permits of [least - 1, most + 1]) await assert.rejects(take({ permits }), { code: 'invalid' })
    }
    if (name) await assert.rejects(take({}, 'n'.repeat(name.longest_bytes + 1)), { code: 'invalid' })
    // The binding holds no value of its own: the core decides.
    assert.equal((await take({})).ttl, span(API.client.connect.parameters.ttl.default))
    await client.close()
  })
}

test('every error and every loss is listed', async () => {
  const kinds = Object.values(leasehold).filter((one) => one.prototype instanceof leasehold.LeaseholdError)
  assert.deepEqual(kinds.map((kind) => kind.code).sort(), Object.keys(API.errors).sort())
  assert.deepEqual(API.loss.reasons, ['expired', 'gone', 'max_hold', 'closed'])
})

test('import and require give the same', async () => {
  const module = await import(pathToFileURL(path.join(PACKAGE, 'index.mjs')))
  assert.deepEqual(Object.keys(module).sort(), Object.keys(leasehold).sort())
  for (const name of Object.keys(leasehold)) assert.equal(module[name], leasehold[name])
})
