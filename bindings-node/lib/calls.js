'use strict'
// Calls of the native part, as promises.

const native = require('./native.js')
const { errorOf } = require('./errors.js')

/** Who is told what came of a call, by its number. */
const waiting = new Map()
let last = 0

const calls = new native.Calls(() => {
  for (const settled of calls.goOn()) {
    waiting.get(settled.id)(settled)
    waiting.delete(settled.id)
  }
})

/**
 * Begin a call by giving it a number, and wait for its answer, if there is none at once.
 * Errors are made here and not when the answer comes, so that their stack shows who waits.
 */
async function call(start, signal) {
  signal?.throwIfAborted()
  const id = ++last
  const { failure, value } = start(id) ?? (await settled(id, signal))
  if (failure) throw errorOf(failure)
  return value
}

function settled(id, signal) {
  return new Promise((resolve, reject) => {
    if (!signal) return waiting.set(id, resolve)
    const cancel = () => {
      waiting.delete(id)
      calls.cancel(id)
      reject(signal.reason)
    }
    signal.addEventListener('abort', cancel, { once: true })
    waiting.set(id, (answer) => {
      signal.removeEventListener('abort', cancel)
      resolve(answer)
    })
  })
}

module.exports = { calls, call }
