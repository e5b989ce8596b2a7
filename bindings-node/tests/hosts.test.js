'use strict'
// The rows of docs/hosts-node.md: programs that run others, in their way.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { leasehold, INSTALLED, TOOLS, LONG, Redis, assertFree, listen, newName, start } = require('./rig.js')

const place = path.join(INSTALLED, 'hosts')
const FILES = path.join(__dirname, 'hosts')
const database = `sqlite:${path.join(place, 'locks.db')}`
let redis, other

before(async () => {
  fs.cpSync(FILES, place, { recursive: true })
  redis = await Redis.start()
  other = await leasehold.connect(redis.url)
})
after(async () => {
  await other.close()
  redis.stop()
  fs.rmSync(place, { recursive: true })
})

async function tell(command, cwd = place) {
  const [program, ...args] = command
  const env = { ...process.env, CI: 'true', NO_COLOR: '1', LEASEHOLD_URL: database }
  // That this is a test is not theirs to know.
  delete env.NODE_TEST_CONTEXT
  return listen(spawn(program, args, { cwd, env, stdio: 'pipe' })).ended
}

// Others, as in LEASEHOLD_HOSTS='bun;deno run -A;/opt/node22/bin/node'.
const RUNTIMES = [process.execPath, ...(process.env.LEASEHOLD_HOSTS ?? '').split(';')].filter(Boolean)
for (const runtime of RUNTIMES) {
  test(`all of it works in ${runtime === process.execPath ? `Node ${process.versions.node}` : runtime}`, async () => {
    const program = (url) => tell([...runtime.split(' '), path.join(place, 'program.cjs'), url])
    for (const { code, out, err } of await Promise.all(['memory:', database, redis.url].map(program))) {
      assert.deepEqual([code, out, err], [0, 'done\n', ''])
    }
  })
}

for (const kind of ['cluster', 'fork']) {
  test(`processes of ${kind} exclude each other, and one that dies frees its lock`, async () => {
    const log = path.join(place, `${kind}.log`)
    for (const url of [database, redis.url]) {
      fs.writeFileSync(log, '')
      const { code, out, err } = await tell([process.execPath, path.join(place, `${kind}.cjs`), url, log])
      assert.deepEqual([code, out, err], [0, 'done\n', ''])
      // One line at its begin and one at its end, and none between them.
      const lines = fs.readFileSync(log, 'utf8').trim().split('\n')
      assert.equal(lines.length, 2 * 3 * 10)
      for (let at = 0; at < lines.length; at += 2) assert.equal(lines[at + 1], lines[at].replace('begin', 'end'))
    }
  })
}

const JEST = { 'in processes': [], 'in its own': ['--runInBand'], 'in worker_threads': ['--workerThreads'] }
for (const [how, flags] of Object.entries(JEST)) {
  test(`jest runs tests with locks ${how}, and ends`, async () => {
    const { code, err } = await tell([path.join(TOOLS, 'jest'), '--ci', ...flags], path.join(place, 'jest'))
    assert.equal(code, 0, err)
    assert.match(err, /Tests: +8 passed, 8 total/)
    assert.doesNotMatch(err, /did not exit|open handle|Warning/)
  })
}

for (const pool of ['forks', 'threads', 'vmThreads']) {
  test(`vitest runs tests with locks in ${pool}, and ends`, async () => {
    const { code, out, err } = await tell([path.join(TOOLS, 'vitest'), 'run', `--pool=${pool}`], path.join(place, 'vitest'))
    assert.equal(code, 0, out + err)
    assert.match(out, /Tests +8 passed/)
    assert.doesNotMatch(out + err, /close timed out|Warning/)
  })
}

test('node:test runs tests with locks, and ends', async () => {
  const { code, out } = await tell([process.execPath, '--test', path.join(place, 'node-test')])
  assert.equal(code, 0, out)
  assert.match(out, /pass 3/)
})

const HELD = (then) => `
  const [url, name] = process.argv.slice(2)
  leasehold.connect(url).then(async (client) => {
    const lease = await client.lock(name, { ttl: ${LONG} }).acquire()
    ${then}
    console.log('held')
    globalThis.timer = setInterval(() => lease, 10)
  })`

test('a program that ends by Ctrl-C or SIGTERM frees its lock, if it closes its client', async () => {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    const name = newName()
    const program = start(HELD(`process.once('${signal}', async () => {
      await client.close()
      process.exit(130)
    })`), redis.url, name)
    await program.says('held')
    program.kill(signal)
    const { code, err } = await program.ended
    assert.deepEqual([code, err], [130, ''])
    await assertFree(other, name)
  }
})

test('a program that ends by Ctrl-C without a handler frees a lock of sqlite at once', async () => {
  const mine = await leasehold.connect(database)
  for (const ends of ['', "setTimeout(() => process.exit(3), 50)", "setTimeout(() => { throw new Error('mine') }, 50)"]) {
    const name = newName()
    const program = start(HELD(ends), database, name)
    await program.says('held')
    if (!ends) program.kill('SIGINT')
    await program.ended
    await assertFree(mine, name)
  }
  await mine.close()
})

test('a handler of uncaught exceptions goes on with its leases, or closes', async () => {
  const name = newName()
  const program = start(HELD(`
    let uncaught = 0
    process.on('uncaughtException', async () => {
      lease.check()
      if (++uncaught < 3) return
      await client.close()
      process.exit(7)
    })
    for (let n = 1; n <= 3; n++) setTimeout(() => { throw new Error('mine') }, n * 20)`), redis.url, name)
  const { code, err } = await program.ended
  assert.deepEqual([code, err], [7, ''])
  await assertFree(other, name)
})

test('every row of the guide is run by a test that is there, or says that it is not', () => {
  const guide = fs.readFileSync(path.join(__dirname, '../../docs/hosts-node.md'), 'utf8')
  const rows = guide.split('\n').filter((line) => line.startsWith('| ')).slice(1)
  assert.ok(rows.length > 20)
  for (const row of rows) {
    const by = row.split('|').at(-2).trim()
    const named = [...by.matchAll(/`(\w+\.test\.js)`/g)].map(([, file]) => path.join(__dirname, file))
    // Of the command line, by their path in the repository.
    const others = [...by.matchAll(/`([\w/]+\.rs)`/g)].map(([, file]) => path.join(__dirname, '../..', file))
    assert.ok(named.length || others.length || by === 'not run', row)
    for (const file of [...named, ...others]) assert.ok(fs.existsSync(file), row)
  }
})
