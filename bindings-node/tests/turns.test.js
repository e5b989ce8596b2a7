'use strict'
// Uncontended locks of `memory:` and `sqlite:` are answered at once; the event loop has its turn all the same.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, test } = require('node:test')
const { run } = require('./rig.js')

const directory = fs.mkdtempSync('/tmp/leasehold-')
after(() => fs.rmSync(directory, { recursive: true }))

const URLS = { memory: 'memory:', sqlite: `sqlite:${path.join(directory, 'locks.db')}` }

/** For a while, what else goes on beside a body of code that is repeated. */
const BESIDE = `
  const [url] = process.argv.slice(2)
  const { setTimeout: later } = require('node:timers/promises')
  const beside = async (client, turn) => {
    let [ticks, longest, last, rounds] = [0, 0, performance.now(), 0]
    const timer = setInterval(() => {
      const now = performance.now()
      ;[ticks, longest, last] = [ticks + 1, Math.max(longest, now - last), now]
    }, 1)
    const before = process.memoryUsage().rss
    const end = performance.now() + 400
    while (performance.now() < end) {
      await turn(client, rounds)
      rounds++
    }
    clearInterval(timer)
    console.log(JSON.stringify({ ticks, longest, rounds, grown: (process.memoryUsage().rss - before) / 1e6 }))
  }
`
const TURNS = {
  'takes and gives back': 'async (client) => (await client.lock("x").acquire()).release()',
  'tries, and forgets what it has': 'async (client, n) => client.lock("y" + n).tryAcquire()',
  'runs a body': 'async (client) => client.lock("x").run(() => {})',
  'finds it busy': 'async (client) => client.lock("held").tryAcquire()',
}

for (const [kind, url] of Object.entries(URLS)) {
  for (const [what, turn] of Object.entries(TURNS)) {
    test(`timers go on beside a loop of ${kind} that ${what}`, async () => {
      const out = await run(`${BESIDE}
        leasehold.connect(url).then(async (client) => {
          globalThis.held = await client.lock('held').acquire()
          await beside(client, ${turn})
          await client.close()
        })`, url)
      const { ticks, longest, rounds, grown } = JSON.parse(out)
      // A turn comes every 5 ms, on a machine that has other things to do, too.
      assert.ok(ticks > 10 && longest < 300 && rounds > 100, out)
      assert.ok(grown < 150, out)
    })
  }
}

test('a loop over events lets others go on', async () => {
  const out = await run(`${BESIDE}
    leasehold.connect('memory:').then(async (client) => {
      const events = client.events()
      await beside(client, async (client) => {
        await (await client.lock('x').acquire()).release()
        await events.next()
        await events.next()
      })
      await client.close()
    })`)
  assert.ok(JSON.parse(out).ticks > 10, out)
})

test('what is aborted while its answer is put off is not held', async () => {
  const out = await run(`
    leasehold.connect('memory:').then(async (client) => {
      const lock = client.lock('x')
      let aborted = 0
      const end = performance.now() + 20_000
      while (aborted < 5 && performance.now() < end) {
        const abort = new AbortController()
        const call = lock.acquire({ signal: abort.signal })
        const first = await Promise.race([call, new Promise((r) => process.nextTick(r, null))])
        abort.abort()
        await call.then((lease) => lease.release(), () => { aborted++ })
        await (await client.lock('x', { wait: 5_000 }).acquire()).release()
      }
      console.log(aborted)
    })`)
  assert.equal(out, '5\n')
})

test('an answer that is there at once takes no turn, fake timers or not', async () => {
  for (const prelude of ['', 'globalThis.setImmediate = () => {};', "require('node:timers').setImmediate = () => {};"]) {
    const { status, stdout, stderr } = require('node:child_process').spawnSync(process.execPath, ['-e', `${prelude}
      const leasehold = require(${JSON.stringify(process.env.LEASEHOLD_NODE_PACKAGE)})
      leasehold.connect('memory:').then(async (client) => {
        let turned = false
        setTimeout(() => (turned = true), 0)
        for (let i = 0; i < 20; i++) await (await client.lock('x').acquire()).release()
        const atOnce = !turned
        const end = performance.now() + 300
        while (performance.now() < end) await (await client.lock('x').acquire()).release()
        console.log(atOnce, turned)
      })`], { encoding: 'utf8', timeout: 30_000 })
    // Where it cannot be known when the loop turns, all answers are told at once.
    assert.deepEqual([status, stdout, stderr], [0, `true ${!prelude.includes('require')}\n`, ''])
  }
})
