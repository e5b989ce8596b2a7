'use strict'
// What callers give, checked: the native part takes it as it is.

const { inspect } = require('node:util')
const { InvalidInput } = require('./errors.js')
const { isSignal } = require('./signals.js')

const isSpan = (value) => typeof value === 'number' && value >= 0 && value < Infinity
const isText = (value) => typeof value === 'string' && value.isWellFormed()

const span = ['a time in milliseconds, such as 10_000', isSpan]
const kinds = {
  ttl: span,
  wait: span,
  maxHold: span,
  autoRenew: ['true or false', (value) => typeof value === 'boolean'],
  label: ['a text', isText],
  signal: ['an AbortSignal', isSignal],
}

/** The options that are set, of those that are allowed. */
function checkOptions(options, allowed) {
  const checked = {}
  if (options === null || typeof options !== 'object') {
    throw new InvalidInput(`options are an object such as { ${allowed[0]}: … }, not ${inspect(options)}`)
  }
  for (const [name, value] of Object.entries(options)) {
    if (!allowed.includes(name)) {
      throw new InvalidInput(`there is no option ${inspect(name)}; there are ${allowed.join(', ')}`)
    }
    if (value == null) continue
    const [what, fits] = kinds[name]
    if (!fits(value)) throw new InvalidInput(`${name} is ${what}, not ${inspect(value)}`)
    checked[name] = value
  }
  return checked
}

/** A text, or an error that says what it should have been. */
function checkText(what, value) {
  if (!isText(value)) throw new InvalidInput(`${what} is a text, not ${inspect(value)}`)
  return value
}

module.exports = { checkOptions, checkText }
