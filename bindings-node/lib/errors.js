'use strict'
// The classes of errors. `code` is stable; it is the same in every language.

class LeaseholdError extends Error {
  constructor(message, { outcome = 'not_held', lock = null, ...options } = {}) {
    super(message, options)
    this.code = new.target.code
    /** What the caller holds now. */
    this.outcome = outcome
    /** The name of the lock that it is about, if there is one. */
    this.lock = lock
  }

  static code = 'internal'
}

const codes = {
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

const classes = { LeaseholdError }
for (const [name, code] of Object.entries(codes)) {
  classes[name] = { [name]: class extends LeaseholdError { static code = code } }[name]
}
for (const kind of Object.values(classes)) {
  Object.defineProperty(kind.prototype, 'name', { value: kind.name, configurable: true, writable: true })
}

const byCode = new Map(Object.values(classes).map((kind) => [kind.code, kind]))

/** The error for a failure of the native part. */
function errorOf({ code, message, outcome, lock }) {
  const kind = byCode.get(code) ?? classes.InternalError
  return new kind(message, { outcome, lock })
}

module.exports = { ...classes, errorOf }
