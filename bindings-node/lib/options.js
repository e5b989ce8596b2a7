'use strict'
// What callers give, checked: the native part takes it as it is.

const { inspect } = require('node:util')
const { InvalidInput } = require('./errors.js')
const { isSignal } = require('./signals.js')

const isSpan = (value) => typeof value === 'number' && value >= 0 && value < Infinity
const isFlag = (value) => typeof value === 'boolean'
const isText = (value) => typeof value === 'string' && value.isWellFormed()
/** The native part would make the same character of all halves. */
const TEXT = 'a text without halves of characters (lone surrogates; toWellFormed() replaces them)'

const span = ['a time in milliseconds, such as 10_000', isSpan]
const kinds = {
  ttl: span,
  delay: span,
  wait: span,
  maxHold: span,
  minHold: span,
  every: span,
  slot: [TEXT, isText],
  autoRenew: ['true or false', isFlag],
  shared: ['true or false', isFlag],
  permits: ['a whole number, from 1 to 1000', (value) => Number.isSafeInteger(value) && value >= 0],
  label: [TEXT, isText],
  name: [TEXT, isText],
  valid: span,
  value: [TEXT, isText],
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

function checkName(name) {
  if (!isText(name)) throw new InvalidInput(`a lock's name is ${TEXT}, not ${inspect(name)}`)
  return name
}

function checkValue(value) {
  if (!isText(value)) throw new InvalidInput(`a value is ${TEXT}, not ${inspect(value)}`)
  return value
}

function checkNames(names) {
  if (typeof names === 'string' || typeof names?.[Symbol.iterator] !== 'function') {
    throw new InvalidInput(`locks() takes several names, as in ['a', 'b'], not ${inspect(names)}; lock() takes one`)
  }
  return Array.from(names, checkName)
}

/** It is not shown: whoever has it can take the lease. */
function checkTicket(ticket) {
  if (!isText(ticket)) throw new InvalidInput(`a ticket is the text that intoTicket() gave, not ${typeof ticket}`)
  return ticket
}

/** It is not shown: it may hold a password, as an object of a URL does. */
function checkUrl(url) {
  if (typeof url !== 'string') throw new InvalidInput(`the URL is a text, not ${typeof url}; see String()`)
  if (!isText(url)) throw new InvalidInput(`the URL is ${TEXT}; in a password, bytes are written as %XX`)
  return url
}

module.exports = { checkName, checkNames, checkOptions, checkTicket, checkUrl, checkValue }
