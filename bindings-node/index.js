'use strict'

const { Client, connect } = require('./lib/client.js')
const { Election, Term } = require('./lib/election.js')
const { errorOf: _, ...errors } = require('./lib/errors.js')
const { Lease, Leases } = require('./lib/lease.js')
const { Lock, Locks } = require('./lib/lock.js')
const { Once } = require('./lib/once.js')

module.exports = { connect, Client, Lock, Lease, Locks, Leases, Once, Election, Term, ...errors }
