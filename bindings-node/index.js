'use strict'

const { Client, connect } = require('./lib/client.js')
const { errorOf: _, ...errors } = require('./lib/errors.js')
const { Lease } = require('./lib/lease.js')
const { Lock } = require('./lib/lock.js')

module.exports = { connect, Client, Lock, Lease, ...errors }
