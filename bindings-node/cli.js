#!/usr/bin/env node
'use strict'
// The command line, in a process of its own.

const { main } = require('./leasehold.node')

process.exit(main(['leasehold', ...process.argv.slice(2)]))
