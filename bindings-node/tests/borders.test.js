'use strict'
// Whatever is given to whatever there is: an error that says so, and never the end of the process.

const assert = require('node:assert/strict')
const { spawn, spawnSync } = require('node:child_process')
const { test } = require('node:test')
const { leasehold, PACKAGE, listen, newName, run } = require('./rig.js')

/** What nobody should give. */
const ODD = () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const fails = { get() { throw new Error('mine') }, ownKeys() { throw new Error('mine') } }
  const getter = { get ttl() { throw new Error('mine') }, get signal() { throw new Error('mine') } }
  return [
    undefined, null, true, 0, -1, NaN, 2 ** 64, 10n, '', 'text', '\ud800', Symbol('s'), [], [1], {}, () => {}, class {},
    new Date(), /x/, new Map(), new ArrayBuffer(8), Object.create(null), new Proxy({}, fails), new Proxy(() => {}, fails),
    proxy, getter, { ttl: proxy }, { signal: proxy }, { signal: getter }, { label: { toString() { throw new Error('mine') } } },
    { toString: null, valueOf: null }, globalThis, new Promise(() => {}), { then(resolve) { resolve(1) } },
  ]
}

/** The methods and getters of a class, by name. */
const members = (kind) =>
  [...Object.getOwnPropertyNames(kind.prototype), Symbol.asyncDispose].filter((name) => name !== 'constructor')

/** What comes of a call: anything but the end of the process. */
async function outcome(call) {
  const never = new Promise((resolve) => setTimeout(resolve, 20, 'never'))
  try {
    return ['value', await Promise.race([call(), never])]
  } catch (error) {
    return ['error', error]
  }
}

test('every function takes anything, and says what is wrong with it', async () => {
  const client = await leasehold.connect('memory:')
  const wrong = []
  for (const odd of ODD()) {
    for (const name of ['lock', 'status', 'breakLock']) wrong.push([name, () => client[name](odd)])
    wrong.push(['connect', () => leasehold.connect(odd)], ['options', () => leasehold.connect('memory:', odd)])
    wrong.push(['lock options', () => client.lock('x', odd)], ['acquire', () => client.lock(newName()).acquire(odd)])
    wrong.push(['run', () => client.lock(newName(), { wait: 0 }).run(odd)], ['run options', () => client.lock(newName()).run(() => {}, odd)])
    wrong.push(['many', () => client.lock(newName()).tryAcquire(odd, odd)], ['close', () => client.events(odd).return(odd)])
    wrong.push(['error', () => String(new leasehold.LeaseLost(Object(odd) === odd || typeof odd === 'symbol' ? 'x' : odd, {}).stack)])
  }
  for (const [what, call] of wrong) {
    const [kind, value] = await outcome(call)
    if (kind === 'value') continue
    // Its own getter's, that of a proxy, or of a constructor that was called without `new`; else ours.
    const said = value?.code ?? `${value}`
    assert.match(said, /^(invalid|Error: mine|TypeError: .*(revoked|without 'new').*)$/, `${what}: ${said}`)
  }
  await client.close()
})

test('nothing is done for another `this`', async () => {
  const client = await leasehold.connect('memory:')
  const lock = client.lock('x')
  const lease = await lock.acquire()
  const subjects = { Client: client, Lock: lock, Lease: lease }
  for (const [of, subject] of Object.entries(subjects)) {
    for (const name of members(leasehold[of])) {
      const others = Object.entries(subjects).filter(([kind]) => kind !== of).map(([, other]) => other)
      for (const self of [...others, ...ODD(), new Proxy(subject, {}), Object.create(subject)]) {
        const [kind, value] = await outcome(() => Reflect.get(Object.getPrototypeOf(subject), name, self).call?.(self, 'x'))
        if (name === 'events' && kind === 'value') continue
        assert.ok(kind === 'error' && value instanceof Error, `${of}.${String(name)}: ${value}`)
      }
    }
  }
  lease.check()
  await lease.release()
  await client.close()
})

test('what is made by hand fails, and no more', async () => {
  for (const name of ['Client', 'Lock', 'Lease']) {
    for (const odd of ODD()) {
      assert.throws(() => new leasehold[name](odd, odd, odd), TypeError)
      const made = Object.create(leasehold[name].prototype)
      for (const member of members(leasehold[name])) await outcome(() => made[member]?.call?.(made, 'x'))
    }
  }
})

test('the native part takes anything, too', async () => {
  const native = require(require.resolve(`${PACKAGE}/lib/native.js`))
  const real = new native.Calls(() => {}, true)
  for (const odd of ODD()) {
    for (const kind of Object.values(native).filter((one) => one !== native.main)) {
      await outcome(() => new kind(odd, odd))
      for (const member of members(kind)) {
        const property = Object.getOwnPropertyDescriptor(kind.prototype, member)
        await outcome(() => (property?.value ?? property?.get)?.call(odd, odd, odd, odd))
        await outcome(() => (property?.value ?? property?.get)?.call(real, odd, odd, odd))
      }
    }
  }
})

test('a worker goes on asking while it ends', async () => {
  const source = `
    const { Worker } = require('node:worker_threads')
    const source = \`
      const leasehold = require(\${JSON.stringify(process.argv[1])})
      const { parentPort } = require('node:worker_threads')
      const ask = async (client) => {
        for (;;) {
          const lease = await client.lock('x', { wait: 5 }).acquire().catch(() => null)
          await lease?.release()
        }
      }
      leasehold.connect(process.argv[2]).then(async (client) => {
        process.on('exit', () => {
          const all = [client.lock('y').acquire(), client.list(), client.close(), client.lock('y').tryAcquire(), leasehold.connect('memory:')]
          for (const one of all) one.catch(() => {})
        })
        for (let i = 0; i < 5; i++) ask(client)
        parentPort.postMessage('asks')
        parentPort.on('message', () => process.exit())
      })\`
    const turn = async (round) => {
      const worker = new Worker(source, { eval: true, argv: [process.argv[2]] })
      await new Promise((resolve) => worker.once('message', resolve))
      await new Promise((resolve) => setTimeout(resolve, round))
      const ended = new Promise((resolve) => worker.once('exit', resolve))
      if (round % 2) worker.postMessage('end')
      else await worker.terminate()
      await ended
    }
    ;(async () => {
      for (let round = 0; round < 10; round++) await turn(round)
      console.log('on')
    })()`
  assert.equal(await run(source, 'memory:'), 'on\n')
})

/** Somebody of whom there are no other processes: root has no limit. */
const NOBODY = 54_321

/** A program for which there is no further thread. */
function withoutThreads(source) {
  const argv = ['-e', `const leasehold = require(process.argv[1])\n${source}`, PACKAGE]
  const isRoot = process.getuid() === 0
  const [before, ...more] = isRoot ? ['setpriv', `--reuid=${NOBODY}`, '--clear-groups'] : ['env']
  const child = listen(spawn(before, [...more, process.execPath, ...argv], { stdio: 'pipe' }))
  child.limit = (most) => spawnSync(before, [...more, 'prlimit', '--pid', `${child.pid}`, `--nproc=${most}:`])
  return child
}

test('where no thread is to be had, that is unavailable, and goes on when there is', { skip: process.platform !== 'linux' }, async () => {
  const child = withoutThreads(`
    process.stdin.once('data', async () => {
      const said = []
      for (const url of ['memory:', 'sqlite:/tmp/leasehold-' + process.pid + '.db', 'redis://127.0.0.1:1', 'etcd://127.0.0.1:1']) {
        const said = await leasehold.connect(url).then(() => 'connected', (error) => error.code + ': ' + error.message)
        console.log(said)
      }
      console.log('limited')
      process.stdin.once('data', async () => {
        const client = await leasehold.connect('memory:')
        await (await client.lock('x').acquire()).release()
        await client.close()
        console.log('free')
        process.stdin.destroy()
      })
    })
    console.log('begun')`)
  await child.says('begun')
  assert.equal(child.limit(1).status, 0)
  child.stdin.write('\n')
  await child.says('limited')
  const said = child.said.out.split('\n').slice(1, 5)
  for (const one of said) assert.match(one, /^unavailable: could not start the client's thread: .*Resource temporarily unavailable/)
  assert.equal(child.limit(10_000).status, 0)
  child.stdin.end('\n')
  const { code, err, out } = await child.ended
  assert.deepEqual([code, err], [0, ''])
  assert.match(out, /free\n$/)
})

test('where no descriptor is to be had, that is unavailable, and goes on when there is', { skip: process.platform !== 'linux' }, async () => {
  const out = await run(`
    const fs = require('node:fs')
    const { spawnSync } = require('node:child_process')
    const limit = (most) => spawnSync('prlimit', ['--pid', process.pid, '--nofile=' + most + ':4096'])
    ;(async () => {
      const used = fs.readdirSync('/proc/self/fd').length
      limit(used + 40)
      const taken = []
      try { for (;;) taken.push(fs.openSync('/dev/null')) } catch {}
      for (let free = 0; free < 14; free++) {
        for (const url of ['memory:', 'sqlite:/tmp/leasehold-fd-' + process.pid + '.db', 'redis://127.0.0.1:1']) {
          await leasehold.connect(url).then((client) => client.close(), (error) => { if (error.code !== 'unavailable') console.log(url, error) })
        }
        fs.closeSync(taken.pop())
      }
      // The threads of those that failed may be about to end, and have some still.
      const isEnding = (error) => error.code === 'unavailable' && performance.now() < 20_000
      let client
      while (!client) {
        client = await leasehold.connect('memory:').catch((error) => { if (!isEnding(error)) throw error })
        await new Promise((resume) => setTimeout(resume, 10))
      }
      await (await client.lock('x').acquire()).release()
      console.log('free')
    })()`)
  assert.equal(out, 'free\n')
})
