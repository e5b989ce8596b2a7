'use strict'
// As process managers start programs, pm2 among them: forked, with a channel.

const { fork } = require('node:child_process')
const { work } = require('./work.cjs')

const [url, log, number] = process.argv.slice(2)

if (number === undefined) {
  const ends = [0, 1, 2].map((number) => {
    const child = fork(__filename, [url, log, number])
    return new Promise((resolve) => child.on('exit', (code, signal) => resolve(signal ?? code)))
  })
  Promise.all(ends).then((ended) => console.log(`${ended}` === 'SIGKILL,0,0' ? 'done' : ended))
} else {
  work(url, log, Number(number))
}
