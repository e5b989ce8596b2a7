'use strict'
// Answers are read by the event loop that waits for them: Node's own, and that of each worker.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { leasehold, Redis, block, newName, run } = require('./rig.js')

let redis
before(async () => (redis = await Redis.start()))
after(() => redis.stop())

/** Take and release a lock, until the connection is lent here. */
async function borrow(client, times = 50) {
  for (let i = 0; i < times; i++) await (await client.lock(newName()).acquire()).release()
}

test('a loop that is blocked while it reads the answers loses no lease', async () => {
  const client = await leasehold.connect(redis.url)
  const lease = await client.lock(newName(), { ttl: 1_000 }).acquire()
  await borrow(client)
  // They are under way, and their answers come while nobody reads here.
  const names = Array.from({ length: 20 }, newName)
  const all = names.map((name) => client.lock(name, { ttl: 1_000 }).acquire())
  block(3_000)
  lease.check()
  for (const one of await Promise.all(all)) {
    one.check()
    await one.release()
  }
  await lease.release()
  await client.close()
})

test('a worker that ends while it reads the answers keeps nothing, and others go on', async () => {
  const source = `
    const { Worker } = require('node:worker_threads')
    const source = \`
      const leasehold = require(\${JSON.stringify(process.argv[1])})
      const { parentPort } = require('node:worker_threads')
      leasehold.connect(process.argv[2]).then(async (client) => {
        await client.lock(process.argv[3], { ttl: 60_000 }).acquire()
        const lock = client.lock(process.argv[3] + '/own')
        for (let i = 0; ; i++) {
          await (await lock.acquire()).release()
          if (i === 50) parentPort.postMessage('reads')
        }
      })\`
    const [url, name] = process.argv.slice(2)
    leasehold.connect(url).then(async (client) => {
      const lease = await client.lock(name + '/kept', { ttl: 1_000 }).acquire()
      for (let round = 0; round < 10; round++) {
        const worker = new Worker(source, { eval: true, argv: [url, name] })
        await new Promise((resolve) => worker.once('message', resolve))
        await worker.terminate()
        await (await client.lock(name, { wait: 5_000 }).acquire()).release()
      }
      lease.check()
      await lease.release()
      await client.close()
      console.log('on')
    })`
  assert.equal(await run(source, redis.url, newName()), 'on\n')
})

test('the package keeps no descriptors when its clients are closed, however often it is loaded anew', async () => {
  const source = `
    const { readdirSync } = require('node:fs')
    const { setTimeout: sleep } = require('node:timers/promises')
    const [path, url, name] = process.argv.slice(1)
    const open = () => readdirSync('/proc/self/fd').length
    const use = async () => {
      for (const file of Object.keys(require.cache)) delete require.cache[file]
      const client = await require(path).connect(url)
      await (await client.lock(name).acquire()).release()
      await client.close()
    }
    ;(async () => {
      // Each waits for the end of the process, too.
      process.setMaxListeners(0)
      for (let i = 0; i < 2; i++) await use()
      const first = open()
      for (let i = 0; i < 20; i++) await use()
      // What is closed is gone when the event loop and the client's thread have gone on.
      for (const end = Date.now() + 5_000; open() > first && Date.now() < end; ) await sleep(10)
      console.log(open() > first ? open() - first : 'none')
    })()`
  assert.equal(await run(source, redis.url, newName()), 'none\n')
})

/** How often the client's own thread was woken for a pair, in the thread that runs this. */
const WAKES = `
  const fs = require('node:fs')
  const wakes = () => {
    const read = (thread) => fs.readFileSync('/proc/self/task/' + thread + '/status', 'utf8')
    const ours = fs.readdirSync('/proc/self/task').map(read).filter((status) => /^Name:\\\\s*leasehold$/m.test(status))
    return ours.reduce((sum, status) => sum + Number(/^voluntary_ctxt_switches:\\\\s*(\\\\d+)$/m.exec(status)[1]), 0)
  }
  const measure = async (leasehold, url) => {
    const client = await leasehold.connect(url)
    const lock = client.lock('pair')
    const pairs = async (many) => { for (let i = 0; i < many; i++) await (await lock.acquire()).release() }
    await pairs(50)
    const before = wakes()
    await pairs(1_000)
    const each = (wakes() - before) / 1_000
    await client.close()
    return each
  }`

test('answers are read in the thread that waits for them, also in a worker', { skip: process.platform !== 'linux' }, async () => {
  const out = await run(`
    const { Worker } = require('node:worker_threads')
    const shared = \`${WAKES}\`
    const source = shared + \`
      const leasehold = require(\${JSON.stringify(process.argv[1])})
      measure(leasehold, process.argv[2]).then((each) => require('node:worker_threads').parentPort.postMessage(each))\`
    const url = process.argv[2]
    eval(shared + '; measure')(leasehold, url).then((main) => {
      new Worker(source, { eval: true, argv: [url] }).once('message', (worker) => console.log(JSON.stringify({ main, worker })))
    })`, redis.url)
  const { main, worker } = JSON.parse(out)
  // Else it is woken for each answer, and there are two.
  assert.ok(main < 1 && worker < 1, out)
})
