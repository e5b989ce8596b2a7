'use strict'
// Signals to abort, of which nobody knows who made them: what they throw must not end the process.

/** Whether it has all that is needed here. Older polyfills have neither a reason nor `throwIfAborted`. */
const isSignal = (value) =>
  typeof value.aborted === 'boolean' &&
  typeof value.addEventListener === 'function' &&
  typeof value.removeEventListener === 'function'

function reasonOf(signal) {
  try {
    return signal.reason ?? new DOMException('This operation was aborted', 'AbortError')
  } catch (error) {
    return error
  }
}

/** The calls that each signal ends. It has one listener for all of them: Node warns of many. */
const ends = new WeakMap()

/** Have `cancel` called with the reason; answers how to have it not called any more. */
function onAbort(signal, cancel) {
  const end = ends.get(signal) ?? listen(signal)
  end.cancels.add(cancel)
  return () => {
    end.cancels.delete(cancel)
    if (end.cancels.size === 0 && ends.get(signal) === end) end.stop()
  }
}

function listen(signal) {
  const cancels = new Set()
  const aborted = () => {
    ends.delete(signal)
    const reason = reasonOf(signal)
    for (const cancel of cancels) cancel(reason)
  }
  const stop = () => {
    ends.delete(signal)
    try {
      signal.removeEventListener('abort', aborted)
    } catch {
      // It has nothing to end any more.
    }
  }
  signal.addEventListener('abort', aborted, { once: true })
  const end = { cancels, stop }
  ends.set(signal, end)
  return end
}

module.exports = { isSignal, reasonOf, onAbort }
