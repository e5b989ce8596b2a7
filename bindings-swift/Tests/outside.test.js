'use strict'
// Programs that depend on the package, as their users see them: beside a Node process, and
// ended by it.

const assert = require('node:assert/strict')
const { spawn, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { leasehold, Redis, newName, until } = require('../../bindings-node/tests/rig.js')

const { LEASEHOLD_SWIFT_APP: APP, LEASEHOLD_SWIFT_HOLDER: HOLDER, LEASEHOLD_SWIFT_NIGHTLY: NIGHTLY } = process.env
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'swift-'))
const started = []
let redis

before(async () => (redis = await Redis.start()))
after(() => {
  for (const child of started) child.kill('SIGKILL')
  redis.stop()
  fs.rmSync(folder, { recursive: true })
})

function start(program, ...given) {
  const child = spawn(program, given, { stdio: ['ignore', 'pipe', 'inherit'] })
  started.push(child)
  child.said = ''
  child.stdout.on('data', (data) => (child.said += data))
  child.says = (pattern) => until(() => child.said.match(pattern))
  child.ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })))
  return child
}

test('so do the examples of the README with other kinds of locks', () => {
  const { status, stdout, stderr } = spawnSync(process.env.LEASEHOLD_SWIFT_EXAMPLES, { encoding: 'utf8', timeout: 30_000 })
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /moving with fences .*\nreading with fence \d+\nworking on GPU 0 .*Mode\.counted[^]*done true\nskipped rested[^]*\nleading in term \d+\nled by 10\.0\.0\.7:8080/)
})

for (const place of ['a file', 'Redis']) {
  test(`the program of the README runs in a new package, on ${place}`, () => {
    const url = place === 'Redis' ? redis.url : `sqlite:${path.join(folder, 'readme.db')}`
    const { status, stdout, stderr } = spawnSync(APP, [url], { encoding: 'utf8', timeout: 30_000 })
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /fence \d+/)
  })

  test(`what it holds is lost to Node, and to a kill, on ${place}`, async () => {
    const url = place === 'Redis' ? redis.url : `sqlite:${path.join(folder, 'holder.db')}`
    const client = await leasehold.connect(url)
    const name = newName()
    const holder = start(HOLDER, url, name)
    const [, pid, first] = await holder.says(/^held (\d+) (\d+)$/m)
    assert.equal(Number(pid), holder.pid)
    assert.equal(await client.lock(name).tryAcquire(), null)
    assert.equal(await client.breakLock(name), true)
    await holder.says(/^lost$/m)
    const [, , second] = await holder.says(/lost\nheld (\d+) (\d+)$/m)
    assert.ok(BigInt(second) > BigInt(first))
    const next = client.lock(name, { wait: 10_000 }).acquire()
    process.kill(Number(pid), 'SIGKILL')
    const lease = await next
    assert.ok(lease.fence > BigInt(second))
    assert.equal((await holder.ended).signal, 'SIGKILL')
    await client.close()
  })
}

test('one of three servers does the job, and another when it is killed or ends', async () => {
  const file = path.join(folder, 'reports.log')
  const servers = [1, 2, 3].map(() => start(NIGHTLY, redis.url, file, '0.02'))
  const leads = () => servers.filter((server) => server.said.includes('leads with'))
  const reports = () => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim().split('\n') : [])
  await until(() => reports().length > 20)
  const client = await leasehold.connect(redis.url)
  const waiting = (number) => until(async () => (await client.status('nightly')).waiters.length === number)
  // One that only waits ends in order, too.
  const idle = start(NIGHTLY, redis.url, file, '0.02')
  await waiting(3)
  idle.kill('SIGTERM')
  assert.deepEqual([await idle.ended, idle.said], [{ code: 0, signal: null }, `${idle.pid} ends\n`])
  const [first] = leads()
  first.kill('SIGKILL')
  await until(() => leads().length === 2)
  const second = leads().find((server) => server !== first)
  await until(() => reports().some((line) => line.endsWith(` ${second.pid}`)))
  await waiting(1)
  second.kill('SIGTERM')
  assert.deepEqual(await second.ended, { code: 0, signal: null })
  await until(() => leads().length === 3)
  const third = servers.find((server) => server !== first && server !== second)
  await until(() => reports().some((line) => line.endsWith(` ${third.pid}`)))
  third.kill('SIGTERM')
  assert.deepEqual(await third.ended, { code: 0, signal: null })
  // Each did the job alone, one after the other.
  const turns = reports().filter((line, at, all) => line !== all[at - 1])
  assert.deepEqual(turns.map((line) => Number(line.split(' by ')[1])), [first.pid, second.pid, third.pid])
  const fences = turns.map((line) => BigInt(line.split(' ')[0]))
  assert.ok(fences[0] < fences[1] && fences[1] < fences[2])
  await client.close()
})
