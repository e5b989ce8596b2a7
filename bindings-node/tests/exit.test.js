'use strict'
// The end of programs, and of workers.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { leasehold, INSTALLED, PACKAGE, LONG, Redis, assertFree, newName, run, start, until } = require('./rig.js')

const HOLD = `
  const [url, name] = process.argv.slice(2)
  const hold = async () => {
    const client = await leasehold.connect(url)
    return client.lock(name, { ttl: ${LONG} }).acquire()
  }
`
let redis, other

before(async () => {
  redis = await Redis.start()
  other = await leasehold.connect(redis.url)
})
after(async () => {
  await other.close()
  redis.stop()
})

const ENDS = {
  'with a lease that it keeps': 'hold().then((lease) => (globalThis.lease = lease))',
  'with a lease that it forgets': 'hold()',
  'while it waits for the loss of its lease': `
    hold().then(async (lease) => console.log(await lease.lost))`,
  'while it reads events': `
    leasehold.connect(url).then(async (client) => {
      globalThis.lease = await client.lock(name, { ttl: ${LONG} }).acquire()
      for await (const event of client.events()) console.log(event.reason ?? event.what)
    })`,
  'in a block that never ends': `
    leasehold.connect(url).then((client) => client.lock(name, { ttl: ${LONG} }).run(() => new Promise(() => {})))
      .catch((error) => console.log(error.code))`,
  'with a handler of its own that uses locks': `
    hold().then((lease) => process.once('beforeExit', () => lease.release().catch(() => {})))`,
}

for (const [how, source] of Object.entries(ENDS)) {
  test(`a program that ends ${how} gives back`, async () => {
    for (let round = 0; round < 5; round++) {
      const name = newName()
      const out = await run(HOLD + source, redis.url, name)
      assert.match(out, /^((closed|lost)\n)?$/)
      await assertFree(other, name)
    }
  })
}

test('a module that waits for ever hears of the end, and gives back', async () => {
  const name = newName()
  const source = `${HOLD}
    await (await hold()).lost
    console.log('over')`
  const program = `import leasehold from ${JSON.stringify(path.join(PACKAGE, 'index.js'))}\n${source}`
  const options = { encoding: 'utf8', timeout: 30_000 }
  const flags = ['--input-type=module', '-e', program, PACKAGE, redis.url, name]
  for (let round = 0; round < 10; round++) {
    const ended = spawnSync(process.execPath, flags, options)
    assert.deepEqual([ended.status, ended.stdout, ended.stderr], [0, 'over\n', ''])
    await assertFree(other, name)
  }
})

test('an end that came about before the program ends is told', async () => {
  const source = `leasehold.connect('memory:').then(async (client) => {
    const lease = await client.lock('n').acquire()
    lease.lost.then((reason) => console.log('over', reason))
    setImmediate(() => lease.release())
  })`
  assert.equal(await run(source), 'over null\n')
})

test('process.exit() keeps its code, SIGTERM ends it, and the ttl frees the lock', async () => {
  const name = newName()
  const short = HOLD.replace(String(LONG), '1000')
  for (let round = 0; round < 5; round++) {
    const exits = start(`${short} hold().then((lease) => process.exit(3))`, redis.url, name)
    const { code, err } = await exits.ended
    assert.deepEqual([code, err], [3, ''])
    await assertFree(other, name)
  }
  const stays = start(`${short} hold().then((l) => (console.log('held'), setInterval(() => l, 1e3)))`, redis.url, name)
  await stays.says('held')
  assert.equal(await other.lock(name).tryAcquire(), null)
  stays.kill('SIGTERM')
  const { signal, err } = await stays.ended
  assert.deepEqual([signal, err], ['SIGTERM', ''])
  await assertFree(other, name)
})

test('an error of the program stays its error', async () => {
  const { code, err } = await start(`${HOLD} hold().then(() => { throw new Error('mine') })`, redis.url, newName()).ended
  assert.equal(code, 1)
  assert.match(err, /mine/)
})

test('an idle client keeps no process alive, a call that is waited for does', async () => {
  await run("leasehold.connect('memory:').then((client) => (globalThis.client = client))")
  const name = newName()
  const held = await other.lock(name, { ttl: LONG }).acquire()
  const waits = start(`${HOLD} hold().then(() => console.log('mine'))`, redis.url, name)
  await until(async () => (await other.status(name)).waiters.length === 1)
  await held.release()
  const { code, out } = await waits.ended
  assert.deepEqual([code, out], [0, 'mine\n'])
})

test('the end waits no longer than a second for a silent server', async () => {
  const own = await Redis.start()
  const source = `${HOLD} hold().then((lease) => { console.log('held'); process.stdin.once('data', () => process.stdin.destroy()) })`
  const program = start(source, own.url, newName())
  await program.says('held')
  own.pause()
  const began = performance.now()
  program.stdin.end('\n')
  const { code, err } = await program.ended
  const took = performance.now() - began
  own.resume()
  own.stop()
  assert.deepEqual([code, err], [0, ''])
  assert.ok(took > 800 && took < 4_000, `${took}`)
})

const WORKER = `
  const { Worker } = require('node:worker_threads')
  const source = \`
    const { workerData, parentPort } = require('node:worker_threads')
    const leasehold = require(workerData.package)
    leasehold.connect(workerData.url).then(async (client) => {
      const lease = await client.lock(workerData.name, { ttl: ${LONG} }).acquire()
      parentPort.postMessage('held')
      if (workerData.stays) setInterval(() => lease, 1000)
    })\`
  const begin = (stays) => new Worker(source, {
    eval: true,
    workerData: { package: process.argv[1], url: process.argv[2], name: process.argv[3], stays },
  })
  const said = (worker, word) => new Promise((resolve) => worker.once(word, resolve))
`

test('a worker that ends, or is terminated while it holds, gives back', async () => {
  const source = `${WORKER}
    (async () => {
      for (let round = 0; round < 10; round++) {
        const worker = begin(round % 2 === 1)
        await said(worker, 'message')
        if (round % 2 === 1) await worker.terminate()
        else await said(worker, 'exit')
      }
    })()`
  const name = newName()
  await run(source, redis.url, name)
  await assertFree(other, name)
})

test('workers that are terminated at any moment leave nothing, and the process goes on', async () => {
  const source = `${WORKER}
    const turn = async () => {
      for (let round = 0; round < 10; round++) {
        const worker = begin(true)
        await said(worker, 'online')
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 60))
        await worker.terminate()
      }
    }
    Promise.all([turn(), turn(), turn()]).then(async () => {
      const client = await leasehold.connect(process.argv[2])
      await (await client.lock(process.argv[3], { wait: 10_000 }).acquire()).release()
      console.log('free')
    })`
  const name = newName()
  assert.equal(await run(source, redis.url, name), 'free\n')
  await assertFree(other, name)
})

test('a worker that is terminated while it waits leaves the line at once', async () => {
  const source = `${WORKER}
    const worker = begin(true)
    process.stdin.once('data', async () => {
      await worker.terminate()
      console.log('gone')
    })`
  const name = newName()
  const held = await other.lock(name, { ttl: LONG }).acquire()
  const program = start(source, redis.url, name)
  await until(async () => (await other.status(name)).waiters.length === 1)
  program.stdin.write('\n')
  await program.says('gone')
  const began = performance.now()
  await until(async () => (await other.status(name)).waiters.length === 0)
  // Its place on the server lasts for two seconds if nobody gives it up.
  assert.ok(performance.now() - began < 1_000)
  program.stdin.end()
  const { code, err } = await program.ended
  assert.deepEqual([code, err], [0, ''])
  await held.release()
})

test('the command line runs a command under a lock', () => {
  const COMMAND = path.join(INSTALLED, 'node_modules/.bin/leasehold')
  const database = path.join(fs.mkdtempSync('/tmp/leasehold-'), 'locks.db')
  const line = (...args) => {
    const { status, stdout, stderr } = spawnSync(COMMAND, args, {
      encoding: 'utf8',
      env: { ...process.env, LEASEHOLD_URL: `sqlite:${database}` },
    })
    return [status, stdout, stderr]
  }
  assert.deepEqual(line('run', 'nightly', '--', 'sh', '-c', 'echo done; exit 7'), [7, 'done\n', ''])
  assert.match(line('--version')[1], /^leasehold \d/)
  const [status, , err] = line('run', 'a', '--no-wait', '--', COMMAND, 'run', 'a', '--no-wait', '--', 'true')
  assert.equal(status, 75)
  assert.match(err, /leasehold: /)
})
