'use strict'
// A bit of everything, for a runtime that is not known.

const assert = require('node:assert')
const leasehold = require('leasehold')

const [url] = process.argv.slice(2)
const name = `hosts/${process.pid}`
const sleep = (span) => new Promise((resolve) => setTimeout(resolve, span))

async function main() {
  const { connect } = await import('leasehold')
  assert.strictEqual(connect, leasehold.connect)
  const client = await connect(url)
  const events = client.events()
  const lease = await client.lock(name, { ttl: 600 }).acquire()
  assert.ok(typeof lease.fence === 'bigint' && lease.isValid)
  assert.strictEqual(JSON.parse(JSON.stringify(lease)).fence, `${lease.fence}`)
  assert.strictEqual(await client.lock(name).tryAcquire(), null)
  const waiting = client.lock(name).acquire()
  const controller = new AbortController()
  const given = client.lock(name).acquire({ signal: controller.signal })
  controller.abort(new Error('enough'))
  await assert.rejects(given, /enough/)
  // Renewal needs no event loop.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500)
  lease.check()
  await lease.release()
  const next = await waiting
  assert.ok(next.fence > lease.fence)
  await client.breakLock(name)
  assert.strictEqual(await next.lost, 'gone')
  assert.strictEqual(await client.lock(name).run(({ signal }) => signal.aborted), false)
  await assert.rejects(client.lock(name).run(() => Promise.reject(new RangeError('mine'))), RangeError)
  assert.throws(() => client.lock(''), leasehold.InvalidInput)
  await assert.rejects(connect('redis://127.0.0.1:1'), leasehold.Unavailable)
  // A loop over locks stops no timer.
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  const end = Date.now() + 500
  while (Date.now() < end) await (await client.lock(name).acquire()).release()
  clearInterval(timer)
  assert.ok(ticks > 10, `${ticks}`)
  await client.close()
  await assert.rejects(client.list(), leasehold.ClientClosed)
  let told = 0
  for await (const event of events) told += event.what === 'lost' ? 1 : 0
  assert.ok(told <= 1)
  await sleep(1)
  console.log('done')
}

main()
