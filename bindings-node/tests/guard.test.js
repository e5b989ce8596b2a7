'use strict'
// The recipes of docs/database-guard.md, word for word, on a real PostgreSQL and MariaDB.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const { createRequire } = require('node:module')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { Mariadb, Postgres } = require('./databases.js')
const { INSTALLED, leasehold, listen, LONG, sleep, until } = require('./rig.js')

const GUIDE = fs.readFileSync(path.join(__dirname, '../../docs/database-guard.md'), 'utf8')
const RECIPES = Object.fromEntries(
  [...GUIDE.matchAll(/## Node, (.+)\n\n```js\n([\s\S]+?)```/g)].map(([, title, code]) => [title, code]),
)
const TTL = 1_000

/** How the first argument of a recipe is made. */
const WAYS = {
  pg: {
    kind: Postgres,
    prepare: (port) => `const { Client } = require('pg')
const work = new Client({ host: '127.0.0.1', port: ${port}, user: 'rig', database: 'postgres' })
await work.connect()`,
  },
  mysql2: {
    kind: Mariadb,
    prepare: (port) => `const work = await require('mysql2/promise').createConnection(
  { host: '127.0.0.1', port: ${port}, user: 'rig', database: 'jobs' })`,
  },
  Knex: {
    kind: Postgres,
    prepare: (port) => `const work = require('knex')({ client: 'pg', connection:
  { host: '127.0.0.1', port: ${port}, user: 'rig', database: 'postgres' } })`,
  },
  'Knex with mysql2': {
    recipe: 'Knex',
    kind: Mariadb,
    prepare: (port) => `const work = require('knex')({ client: 'mysql2', connection:
  { host: '127.0.0.1', port: ${port}, user: 'rig', database: 'jobs' } })`,
  },
}

const servers = new Map()
before(async () => {
  for (const kind of [Postgres, Mariadb]) servers.set(kind, await kind.start())
})
after(() => servers.forEach((server) => server.stop()))

/** A process that charges an account by a recipe, while it holds the lock. */
class Holder {
  constructor(way, { first = '', then = '', late = false, ttl = TTL, waits = false } = {}) {
    const { kind, prepare, recipe = way } = WAYS[way]
    this.server = servers.get(kind)
    this.server.ask('DROP TABLE IF EXISTS accounts')
    this.server.ask('CREATE TABLE accounts (id integer PRIMARY KEY, balance integer)')
    this.server.ask('INSERT INTO accounts VALUES (1, 100)')
    const lines = RECIPES[recipe].split('\n')
    const told = lines.map((line) => (line.includes('lease.guard()') ? [first, line, then] : line))
    const program = `
const leasehold = require('leasehold')
const stop = () => process.kill(process.pid, 'SIGSTOP')
const told = () => new Promise((resolve) => process.stdin.once('data', resolve))
${told.flat().join('\n')}
async function main() {
  ${prepare(this.server.port)}
  const client = await leasehold.connect(${JSON.stringify(this.server.url)})
  const lease = await client.lock('accounts/1', { ttl: ${ttl} }).acquire()
  // A lease whose guard comes long after it was asked for.
  const late = { guard() { const statement = lease.guard(); stop(); return statement } }
  try {
    await charge(work, ${late} ? late : lease)
    console.log('committed')
  } catch (error) {
    if (error.message !== 'no') throw error
    console.log('rolled back')
  }
  if (${waits}) await told()
  await lease.release().catch(() => {})
  console.log('released')
  await told()
}
main().catch((error) => { console.error(error); process.exit(1) })`
    // Programs there find the package and the drivers.
    this.file = path.join(INSTALLED, `guard-${process.pid}-${++Holder.count}.js`)
    fs.writeFileSync(this.file, program)
    this.child = listen(spawn(process.execPath, [this.file], { stdio: 'pipe' }))
  }

  static count = 0

  get balance() { return Number(this.server.ask('SELECT balance FROM accounts')) }

  /** Wait until it has stopped itself, and longer than its lease lasts. */
  async stopped() {
    const state = () => fs.readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').split(') ').at(-1)[0]
    await until(() => state() === 'T' || this.child.exitCode !== null)
    assert.equal(this.child.exitCode, null, this.child.said.err)
    await sleep(2 * TTL)
  }

  end() {
    this.child.kill('SIGKILL')
    fs.rmSync(this.file)
  }
}

/** The lock, if nobody has it, and nobody keeps it from being taken. */
async function taken(client) {
  try {
    return await client.lock('accounts/1', { ttl: LONG }).tryAcquire()
  } catch (error) {
    if (!(error instanceof leasehold.Unavailable)) throw error
    return null
  }
}

async function withHolder(way, options, body) {
  const holder = new Holder(way, options)
  const client = await leasehold.connect(holder.server.url)
  try {
    await body(holder, client)
  } finally {
    holder.end()
    await client.close()
  }
}

for (const way of Object.keys(WAYS)) {
  for (const late of [false, true]) {
    test(`${way}: who is stopped before the guard${late ? ', which it has in hand,' : ''} writes nothing`, async () => {
      await withHolder(way, { first: late ? '' : 'stop()', late }, async (holder, client) => {
        await holder.stopped()
        const lease = await until(() => taken(client))
        holder.child.kill('SIGCONT')
        const { code, err } = await holder.child.ended
        assert.equal(code, 1)
        assert.match(err, late ? /must.not.commit/ : /LeaseLost/)
        assert.equal(holder.balance, 100)
        await lease.release()
      })
    })
  }

  test(`${way}: who is stopped after the guard commits before anybody else holds the lock`, async () => {
    await withHolder(way, { then: 'stop()' }, async (holder, client) => {
      await holder.stopped()
      assert.equal(await taken(client), null)
      assert.equal(holder.balance, 100)
      holder.child.kill('SIGCONT')
      await holder.child.says('committed')
      const lease = await until(() => taken(client))
      assert.equal(holder.balance, 90)
      await lease.release()
    })
  })

  for (const then of ['', "throw new Error('no')"]) {
    test(`${way}: the lock is free after the release when it was ${then ? 'rolled back' : 'committed'}`, async () => {
      await withHolder(way, { then, ttl: LONG, waits: true }, async (holder, client) => {
        await holder.child.says(then ? 'rolled back' : 'committed')
        assert.equal(holder.balance, then ? 100 : 90)
        assert.equal(await taken(client), null)
        holder.child.stdin.write('\n')
        await holder.child.says('released')
        const lease = await taken(client)
        assert.notEqual(lease, null)
        await lease.release()
      })
    })
  }
}

test('every recipe is run', () => {
  const run = Object.entries(WAYS).map(([way, { recipe = way }]) => recipe)
  assert.deepEqual([...new Set(run)].sort(), Object.keys(RECIPES).sort())
})

test('the README charges once', async () => {
  const readme = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8')
  const [, code] = /\*\*A guard\*\*[^]*?\n\n```js\n([^]*?)```/.exec(readme)
  assert.ok(code.trimEnd().split('\n').length <= 8)
  const server = servers.get(Postgres)
  server.ask('DROP TABLE IF EXISTS accounts')
  server.ask('CREATE TABLE accounts (id integer PRIMARY KEY, balance integer)')
  server.ask('INSERT INTO accounts VALUES (1, 100)')
  const knex = createRequire(path.join(INSTALLED, 'x.js'))('knex')({
    client: 'pg',
    connection: { host: '127.0.0.1', port: server.port, user: 'rig', database: 'postgres' },
  })
  const client = await leasehold.connect(server.url)
  await new Function('client', 'knex', `return (async () => { ${code} })()`)(client, knex)
  assert.equal(server.ask('SELECT balance FROM accounts'), '90')
  await Promise.all([client.close(), knex.destroy()])
})

test('leases that are held together have one guard, and where no transaction could run there is none', async () => {
  const server = servers.get(Postgres)
  const client = await leasehold.connect(server.url)
  const leases = await client.locks(['stock', 'orders']).acquire()
  assert.equal(server.ask(leases.guard()), '1')
  await leases.release()
  assert.throws(() => leases.guard(), leasehold.NotHeld)
  await client.close()
  const local = await leasehold.connect('memory:')
  const lease = await local.lock('x').acquire()
  assert.throws(() => lease.guard(), { name: 'Unsupported', message: /send lease\.fence/ })
  assert.ok(lease.isValid)
  await local.close()
})
