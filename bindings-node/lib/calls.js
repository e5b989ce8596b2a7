'use strict'
// Calls of the native part, as promises.

// Taken here, before anybody can put fake ones in their place.
const { setImmediate } = require('node:timers')
const native = require('./native.js')
const { errorOf } = require('./errors.js')
const { onAbort, reasonOf } = require('./signals.js')

/** Who is told what came of a call, by its number. */
const waiting = new Map()
let last = 0

// Others have an event loop of their own.
const isNode = !process.versions.bun && !process.versions.deno
const calls = new native.Calls(() => tell(calls.goOn()), isNode)

function tell(settled) {
  for (const answer of settled) {
    const resolve = waiting.get(answer.id)
    waiting.delete(answer.id)
    resolve?.(answer)
  }
}

/**
 * Begin a call by giving it a number, and wait for its answer, if there is none at once.
 * Errors are made here and not when the answer comes, so that their stack shows who waits.
 */
async function call(start, signal) {
  if (signal?.aborted) throw reasonOf(signal)
  const id = ++last
  const { failure, value } = atOnce(start(id)) ?? (await settled(id, signal))
  if (failure) throw errorOf(failure)
  return value
}

let isTurnAwaited = false

/**
 * An await of what is there already does not let go of the event loop. Whoever does nothing but
 * that, in a loop, would stop all timers and the collection of garbage: so the native part is
 * told of the loop's turns, and has answers wait for the next when the last was long ago.
 */
function atOnce(answer) {
  if (answer && !isTurnAwaited) {
    isTurnAwaited = true
    const turn = setImmediate(() => {
      isTurnAwaited = false
      tell(calls.turn())
    })
    // Those of a test come when it likes, if they come.
    if (turn?.constructor?.name === 'Immediate') calls.awaitTurn()
  }
  return answer
}

function settled(id, signal) {
  return new Promise((resolve, reject) => {
    if (!signal) return waiting.set(id, resolve)
    const cancel = (reason) => {
      waiting.delete(id)
      calls.cancel(id)
      reject(reason)
    }
    try {
      const forget = onAbort(signal, cancel)
      waiting.set(id, (answer) => {
        forget()
        resolve(answer)
      })
    } catch (error) {
      cancel(error)
    }
  })
}

module.exports = { calls, call }
