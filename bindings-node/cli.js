#!/usr/bin/env node
'use strict'
// The command line, in a process of its own.

function main(...args) {
  try {
    return require('./lib/native.js').main(args)
  } catch (error) {
    console.error(`leasehold: ${error.message}`)
    return 70 // an internal error, as the command line itself says it
  }
}

process.exit(main('leasehold', ...process.argv.slice(2)))
