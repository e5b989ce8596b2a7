'use strict'
// The examples, run as their first lines say.

const assert = require('node:assert/strict')
const { spawn, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { INSTALLED, TOOLS, LONG, Redis, leasehold, listen, until } = require('./rig.js')

const EXAMPLES = path.join(__dirname, '../examples')
// There they find the package by its name, and what else they import.
const place = path.join(INSTALLED, 'examples')
let redis, other

before(async () => {
  fs.cpSync(EXAMPLES, place, { recursive: true })
  redis = await Redis.start()
  other = await leasehold.connect(redis.url)
})
after(async () => {
  await other.close()
  redis.stop()
  fs.rmSync(place, { recursive: true })
})

function example(file, args = [], variables = {}, flags = []) {
  const env = { ...process.env, LEASEHOLD_URL: redis.url, REDIS_URL: redis.url, PORT: '0', ...variables }
  return listen(spawn(process.execPath, [...flags, path.join(place, file), ...args], { env, stdio: 'pipe' }))
}

/** For a program that sleeps: so often as it likes, and then without end. */
const sleepless = (times) => `--import=data:text/javascript,${encodeURIComponent(`
  import timers from 'node:timers/promises'
  import { syncBuiltinESMExports } from 'node:module'
  const { setTimeout } = timers
  let left = ${times}
  timers.setTimeout = (span, ...rest) => setTimeout(left-- > 0 ? span : 2 ** 30, ...rest)
  syncBuiltinESMExports()`)}`

/** Until it says where it is. */
async function address(server) {
  await until(() => /http:\S+\n/.test(server.said.out) || server.exitCode !== null)
  assert.equal(server.exitCode, null, server.said.err)
  return /http:\S+/.exec(server.said.out)[0]
}

async function ends(server) {
  server.kill('SIGTERM')
  return server.ended
}

test('an endpoint in two servers charges every order once', async () => {
  const ledger = path.join(place, 'ledger.txt')
  const servers = [0, 1].map(() => example('charge-once.mjs', [], { LEDGER: ledger }))
  const urls = await Promise.all(servers.map(address))
  const ask = async (number) => {
    const url = `${urls[number % 2]}/orders/o${number % 5}/charge`
    const answer = await fetch(url, { method: 'POST' })
    assert.equal(answer.status, 200)
    return (await answer.json()).charged
  }
  const charged = await Promise.all(Array.from({ length: 60 }, (_, number) => ask(number)))
  assert.equal(charged.filter(Boolean).length, 5)
  const charges = fs.readFileSync(ledger, 'utf8').trim().split('\n').map((line) => line.split(' ')[0])
  assert.deepEqual(charges.sort(), ['o0', 'o1', 'o2', 'o3', 'o4'])
  const held = await other.lock('orders/o9', { ttl: LONG }).acquire()
  assert.equal((await fetch(`${urls[0]}/orders/o9/charge`, { method: 'POST' })).status, 409)
  await held.release()
  for (const { code, err } of await Promise.all(servers.map(ends))) assert.deepEqual([code, err], [0, ''])
})

test('a job that three machines start at once is done by one', async () => {
  const machines = [0, 1, 2].map(() => example('nightly.mjs', ['2026-11-20']))
  const ended = await Promise.all(machines.map((machine) => machine.ended))
  for (const { code, err } of ended) assert.deepEqual([code, err], [0, ''])
  const said = ended.map(({ out }) => out.trim().split('\n').at(-1))
  assert.deepEqual(said.sort(), ['did it', 'it is done', 'it is done'])
  assert.match(ended.map(({ out }) => out).join(''), /^going on after step 0$/m)
})

test('when the one that has the job is killed, another goes on where it stopped', async () => {
  const first = example('nightly.mjs', ['2026-11-21'], {}, [sleepless(3)])
  await until(() => redis.ask('HGET', 'report:2026-11-21', 'done') === '3')
  const next = [0, 1].map(() => example('nightly.mjs', ['2026-11-21']))
  await Promise.all(next.map((machine) => machine.says(`:${first.pid} nightly is at it`)))
  await until(async () => (await other.status('nightly/2026-11-21')).waiters.length === 2)
  first.kill('SIGKILL')
  const ended = await Promise.all(next.map((machine) => machine.ended))
  const said = ended.map(({ out }) => out).join('')
  for (const { code, err } of ended) assert.deepEqual([code, err], [0, ''])
  assert.match(said, /^going on after step 3$/m)
  assert.equal(said.match(/did it/g).length, 1)
})

test('a holder that is late is refused by its fence', async () => {
  const machine = example('nightly.mjs', ['2026-11-22'])
  await machine.says('going on')
  const fence = redis.ask('HGET', 'report:2026-11-22', 'fence')
  redis.ask('HSET', 'report:2026-11-22', 'fence', `${BigInt(fence) + 1n}`)
  const { code, err } = await machine.ended
  assert.equal(code, 1)
  assert.match(err, /TOOLATE/)
  assert.notEqual(redis.ask('HGET', 'report:2026-11-22', 'done'), '20')
})

const FORMATS = { esm: 'mjs', cjs: 'cjs' }

/** The command of the example's first lines. */
function bundle(format, out, isExternal = true) {
  const source = fs.readFileSync(path.join(place, 'bundled-server.mjs'), 'utf8')
  const words = /npx esbuild (.*)/.exec(source)[1].replace('--format=esm', `--format=${format}`)
    .replace('--outfile=server.mjs', `--outfile=${out}`).split(' ')
  const used = words.filter((word) => isExternal || word !== '--external:leasehold')
  return spawnSync(path.join(TOOLS, 'esbuild'), [...used, '--log-level=warning'], { cwd: place, encoding: 'utf8' })
}

for (const [format, suffix] of Object.entries(FORMATS)) {
  test(`a server that is bundled as ${format} works`, async () => {
    const built = bundle(format, `server.${suffix}`)
    assert.deepEqual([built.status, built.stderr], [0, ''])
    const server = example(`server.${suffix}`)
    const answer = await fetch(`${await address(server)}/page`)
    assert.deepEqual([answer.status, /^fence \d+\n$/.test(await answer.text())], [200, true])
    await ends(server)
  })
}

test('a bundler that is not told to leave the package outside says so', () => {
  for (const [format, suffix] of Object.entries(FORMATS)) {
    const { status, stderr } = bundle(format, `inside.${suffix}`, false)
    assert.equal(status, 1)
    assert.match(stderr, /ERROR.*leasehold-.*\n.*\n.*lib\/native\.js/)
  }
})
