'use strict'
// The errors, and what bad input is told.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { leasehold, Redis } = require('./rig.js')

const { connect, InvalidInput, LeaseholdError } = leasehold

const CODES = {
  LockTimeout: 'timeout',
  LeaseLost: 'lost',
  NotHeld: 'not_held',
  Unavailable: 'unavailable',
  Refused: 'refused',
  InvalidInput: 'invalid',
  Unsupported: 'unsupported',
  ClientClosed: 'closed',
  Cancelled: 'cancelled',
  InternalError: 'internal',
}

test('an error is what its name says', () => {
  for (const [name, code] of Object.entries(CODES)) {
    const kind = leasehold[name]
    const error = new kind('a message', { outcome: 'unknown', lock: 'a/lock', cause: 1 })
    assert.ok(error instanceof LeaseholdError && error instanceof Error)
    assert.deepEqual([error.name, error.code, error.message], [name, code, 'a message'])
    assert.deepEqual([error.outcome, error.lock, error.cause], ['unknown', 'a/lock', 1])
    assert.match(error.stack, new RegExp(`^${name}: a message`))
    assert.deepEqual([new kind('').outcome, new kind('').lock], ['not_held', null])
  }
})

test('an error of a call shows who waits', async () => {
  const client = await connect('memory:')
  const lease = await client.lock('n').acquire()
  async function somebody() {
    await client.lock('n', { wait: 1 }).acquire()
  }
  await assert.rejects(somebody(), (error) => {
    assert.match(error.stack, /somebody/)
    assert.deepEqual([error.code, error.outcome, error.lock], ['timeout', 'not_held', 'n'])
    return true
  })
  await lease.release()
  await client.close()
})

const BAD = [
  [{ ttl: 0 }, '0ns'],
  [{ ttl: 1 }, '1ms'],
  [{ ttl: -1 }, '-1'],
  [{ ttl: 1e12 }, '1000000000s'],
  [{ ttl: 1e300 }, 'ttl'],
  [{ ttl: NaN }, 'NaN'],
  [{ ttl: Infinity }, 'Infinity'],
  [{ ttl: '10' }, "'10'"],
  [{ ttl: 10n }, '10n'],
  [{ ttl: true }, 'true'],
  [{ wait: -0.5 }, '-0.5'],
  [{ wait: [1] }, '[ 1 ]'],
  [{ maxHold: 10 }, '10ms'],
  [{ label: 'a\nb' }, 'a\\nb'],
  [{ label: 'x'.repeat(300) }, 'xxx'],
  [{ label: 7 }, '7'],
  [{ colour: 'red' }, "'colour'"],
]

function saying(...words) {
  return (error) => {
    assert.ok(error instanceof InvalidInput, error.stack)
    for (const word of words) assert.ok(error.message.includes(word), `${error.message}: ${word}`)
    assert.deepEqual([error.code, error.outcome], ['invalid', 'not_held'])
    return true
  }
}

for (const [options, said] of BAD) {
  const [name] = Object.keys(options)
  test(`${name}: ${said} is refused, and named`, async () => {
    const what = name === 'maxHold' ? 'max_hold' : name
    const client = await connect('memory:')
    assert.throws(() => client.lock('n', options), saying(what, said))
    await assert.rejects(connect('memory:', options), saying(what, said))
    await client.close()
  })
}

test('a bad name, flag, signal, body and URL are named, odd ones are fine', async () => {
  const client = await connect('memory:')
  for (const name of ['', 'a\0b', 'x'.repeat(1025)]) {
    assert.throws(() => client.lock(name), saying('name'))
    await assert.rejects(client.status(name), saying('name'))
    await assert.rejects(client.breakLock(name), saying('name'))
  }
  for (const name of [undefined, null, 7, '\ud800']) {
    assert.throws(() => client.lock(name), saying('name'))
    await assert.rejects(client.status(name), saying('name'))
    await assert.rejects(client.breakLock(name), saying('name'))
  }
  // The native part would make one lock of both.
  for (const [name, shown] of [['a\ud800', "'a\\ud800'"], ['a\udfff', "'a\\udfff'"]]) {
    for (const wrong of [() => client.lock(name), () => client.lock('n', { label: name })]) {
      assert.throws(wrong, saying(shown, 'surrogate', 'toWellFormed'))
    }
    const whole = (url) => connect(url).then((client) => client.close())
    await assert.rejects(whole(`redis://:secret${name}@127.0.0.1:1`), saying('surrogate', '%XX'))
    await assert.rejects(whole(`redis://:secret${name}@127.0.0.1:1`), (error) => !error.message.includes('secret'))
  }
  await assert.rejects(connect(new URL('redis://:secret@127.0.0.1:1')), (error) => !error.message.includes('secret'))
  assert.throws(() => client.lock('n', { autoRenew: 'no' }), saying('autoRenew', "'no'"))
  assert.throws(() => client.lock('n', null), saying('null'))
  await assert.rejects(client.lock('n').acquire({ signal: 1 }), saying('signal', '1'))
  await assert.rejects(client.lock('n').acquire({ wait: 1 }), saying("'wait'"))
  await assert.rejects(client.lock('n').run('body'), saying("'body'"))
  for (const url of ['carrier:pigeon', '', 'memory:x', 'redis://h:99999', 'sqlite:?a=b', 7]) {
    await assert.rejects(connect(url), InvalidInput)
  }
  for (const odd of ['💥'.repeat(256), ' ', 'a b/c']) {
    const lease = await client.lock(odd).acquire({})
    assert.equal(lease.name, odd)
    await lease.release()
  }
  await client.close()
})

test('what cannot be made by hand is not', () => {
  assert.throws(() => new leasehold.Lease().fence)
})

test('a server that is not there is named, its password is not', async () => {
  const redis = await Redis.start()
  redis.stop()
  await assert.rejects(connect(`redis://:secret@127.0.0.1:${redis.port}`), (error) => {
    assert.ok(error instanceof leasehold.Unavailable)
    assert.match(error.message, new RegExp(`127.0.0.1:${redis.port}`))
    assert.doesNotMatch(error.message, /secret/)
    return true
  })
})
