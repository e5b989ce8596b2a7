'use strict'
// Calls that are given up.

const assert = require('node:assert/strict')
const { getEventListeners } = require('node:events')
const { after, before, test } = require('node:test')
const { leasehold, LONG, Redis, assertFree, collect, newName, sleep, until } = require('./rig.js')

let redis, client, other

before(async () => {
  redis = await Redis.start()
  client = await leasehold.connect(redis.url, { ttl: LONG })
  other = await leasehold.connect(redis.url)
})
after(async () => {
  await Promise.all([client.close(), other.close()])
  redis.stop()
})

test('a signal ends a wait with its reason, and nothing is held', async () => {
  const name = newName()
  const held = await other.lock(name).acquire()
  const controller = new AbortController()
  const reason = new Error('enough')
  const waiting = client.lock(name).acquire({ signal: controller.signal })
  await until(async () => (await other.status(name)).waiters.length === 1)
  const began = performance.now()
  controller.abort(reason)
  await assert.rejects(waiting, (error) => error === reason)
  assert.ok(performance.now() - began < 1_000)
  await until(async () => (await other.status(name)).waiters.length === 0)
  await held.release()
  await assertFree(other, name)
})

test('a signal that is aborted before, or by time, or by itself', async () => {
  const name = newName()
  await assert.rejects(client.lock(name).acquire({ signal: AbortSignal.abort('no') }), (error) => error === 'no')
  assert.equal(await other.status(name), null)
  const held = await other.lock(name).acquire()
  await assert.rejects(client.lock(name).acquire({ signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' })
  const controller = new AbortController()
  const never = client.lock(name).run(() => assert.fail('it never begins'), { signal: controller.signal })
  controller.abort()
  await assert.rejects(never, { name: 'AbortError' })
  await held.release()
  await assertFree(other, name)
})

test("the user's own use of a signal is left alone", async () => {
  const name = newName()
  const controller = new AbortController()
  let heard = 0
  controller.signal.onabort = () => heard++
  const held = await client.lock(name).acquire({ signal: controller.signal })
  controller.abort()
  assert.deepEqual([heard, held.isValid], [1, true])
  await held.release()
})

test('two hundred calls on one signal have one listener', async () => {
  const warnings = []
  const warn = (warning) => warnings.push(warning.name)
  process.on('warning', warn)
  const name = newName()
  const held = await other.lock(name).acquire()
  const controller = new AbortController()
  const calls = Array.from({ length: 200 }, () => client.lock(name).acquire({ signal: controller.signal }))
  const ended = Promise.allSettled(calls)
  assert.equal(getEventListeners(controller.signal, 'abort').length, 1)
  await until(async () => (await other.status(name)).waiters.length === 1)
  controller.abort('enough')
  assert.ok((await ended).every(({ reason }) => reason === 'enough'))
  const fresh = new AbortController()
  const one = client.lock(name).acquire({ signal: fresh.signal })
  await held.release()
  await (await one).release()
  // Nothing is left at a signal that lives on.
  assert.equal(getEventListeners(fresh.signal, 'abort').length, 0)
  await new Promise(setImmediate)
  process.off('warning', warn)
  assert.deepEqual(warnings, [])
})

/** As polyfills have it, which know neither a reason nor `throwIfAborted`. */
class OldSignal extends EventTarget {
  aborted = false
  abort() {
    this.aborted = true
    this.dispatchEvent(new Event('abort'))
  }
}

test('a signal of another make is heeded if it is whole', async () => {
  const name = newName()
  const held = await other.lock(name).acquire()
  const signal = new OldSignal()
  const waiting = client.lock(name).acquire({ signal })
  await until(async () => (await other.status(name)).waiters.length === 1)
  signal.abort()
  await assert.rejects(waiting, { name: 'AbortError' })
  await assert.rejects(client.lock(name).acquire({ signal }), { name: 'AbortError' })
  await held.release()
  await assertFree(other, name)
})

const HALF = {
  'no listeners': { aborted: false },
  'only throwIfAborted': { throwIfAborted() {} },
  'no removeEventListener': { aborted: false, throwIfAborted() {}, addEventListener() {} },
  'no addEventListener': { aborted: false, throwIfAborted() {}, removeEventListener() {} },
  'no aborted': { throwIfAborted() {}, addEventListener() {}, removeEventListener() {} },
  'its controller': new AbortController(),
}

test('half a signal is refused, and named', async () => {
  const name = newName()
  const held = await other.lock(name).acquire()
  for (const [what, signal] of Object.entries(HALF)) {
    const refused = { code: 'invalid', message: /^signal is an AbortSignal, not / }
    await assert.rejects(client.lock(name).acquire({ signal }), refused, what)
    await assert.rejects(client.lock(name).run(() => {}, { signal }), refused, what)
  }
  await held.release()
})

test('a signal that throws does no harm', async () => {
  const name = newName()
  const mine = new Error('mine')
  const fails = () => { throw mine }
  const whole = { aborted: false, addEventListener() {}, removeEventListener() {} }
  const held = await other.lock(name).acquire()
  await assert.rejects(client.lock(name).acquire({ signal: { ...whole, addEventListener: fails } }), mine)
  await until(async () => (await other.status(name)).waiters.length === 0)
  await assert.rejects(client.lock(name).acquire({ signal: { ...whole, aborted: true, get reason() { return fails() } } }), mine)
  const { proxy, revoke } = Proxy.revocable(whole, {})
  const calls = [{ ...whole, removeEventListener: fails }, proxy].map((signal) => client.lock(name).acquire({ signal }))
  revoke()
  await assert.rejects(client.lock(name).acquire({ signal: proxy }), TypeError)
  await held.release()
  for (const call of calls) await (await call).release()
  await assertFree(other, name)
})

/** Some moment soon: at once, in this turn of the event loop, in the next, or a bit later. */
const MOMENTS = [
  (then) => then(),
  (then) => queueMicrotask(then),
  (then) => setImmediate(then),
  (then) => setTimeout(then, Math.random() * 6),
  (then) => setTimeout(then, Math.random() * 6),
]

test('five hundred calls that are given up at any moment leave nothing', async () => {
  const name = newName()
  const outcomes = { held: 0, given: 0 }
  for (let round = 0; round < 50; round++) {
    await Promise.all(Array.from({ length: 10 }, async (_, number) => {
      const controller = new AbortController()
      const taken = client.lock(name).acquire({ signal: controller.signal })
      MOMENTS[number % MOMENTS.length](() => controller.abort())
      try {
        const lease = await taken
        outcomes.held++
        await lease.release()
      } catch (error) {
        if (error !== controller.signal.reason) throw error
        outcomes.given++
      }
    }))
    await assertFree(other, name)
  }
  assert.ok(outcomes.held > 0 && outcomes.given > 0, JSON.stringify(outcomes))
  assert.equal((await other.status(name))?.waiters.length ?? 0, 0)
})

test('garbage is given back, unless somebody waits for it', async () => {
  const name = newName()
  await (async () => void (await client.lock(name).acquire()))()
  await collect()
  await assertFree(other, name)
  const { lost } = await (async () => {
    const lease = await client.lock(name).acquire()
    return { lost: lease.lost }
  })()
  let why
  lost.then((reason) => (why = reason))
  await collect()
  await sleep(50)
  assert.deepEqual([why, await other.lock(name).tryAcquire()], [undefined, null])
  await other.breakLock(name)
  assert.equal(await lost, 'gone')
})

test('a release of which nobody keeps anything is done', async () => {
  const name = newName()
  await (async () => void (await client.lock(name).acquire()).release())()
  await collect()
  await assertFree(other, name)
})
