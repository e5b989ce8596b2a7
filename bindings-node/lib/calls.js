'use strict'
// Calls of the native part, as promises.

const native = require('../leasehold.node')
const { errorOf } = require('./errors.js')

/** What is done with the answer, by the number of the call. */
const waiting = new Map()
let last = 0
/** How many calls the process is to wait for. */
let needed = 0

const calls = new native.Calls((settled) => {
  for (const answer of settled) waiting.get(answer.id)?.(answer)
})

/**
 * Begin a call by giving it a number, and wait for its answer. Errors are made here
 * and not when the answer comes, so that their stack shows who waits. The process
 * ends without those that are not needed.
 */
async function call(start, { signal, isNeeded = true } = {}) {
  signal?.throwIfAborted()
  const id = ++last
  let cancel
  if (isNeeded && needed++ === 0) calls.keepAlive(true)
  try {
    const { failure, value } = await new Promise((resolve, reject) => {
      waiting.set(id, resolve)
      const failure = start(id)
      if (failure) resolve({ failure })
      cancel = () => {
        calls.cancel(id)
        reject(signal.reason)
      }
      signal?.addEventListener('abort', cancel, { once: true })
    })
    if (failure) throw errorOf(failure)
    return value
  } finally {
    waiting.delete(id)
    if (isNeeded && --needed === 0) calls.keepAlive(false)
    signal?.removeEventListener('abort', cancel)
  }
}

// What is held is given back when the program has nothing more to do. Clients are
// told once, so this does not come again for ever.
process.on('beforeExit', () => {
  for (const client of calls.open()) call((id) => client.closeAtExit(id)).catch(() => {})
})

module.exports = { calls, call }
