'use strict'

const cluster = require('node:cluster')
const { work } = require('./work.cjs')

const [url, log] = process.argv.slice(2)

if (cluster.isPrimary) {
  // The primary has a client of its own, from before.
  require('leasehold').connect(url).then(async (client) => {
    const held = await client.lock('hosts/work').acquire()
    const ends = [0, 1, 2].map((number) => {
      const worker = cluster.fork({ NUMBER: number })
      return new Promise((resolve) => worker.on('exit', (code, signal) => resolve(signal ?? code)))
    })
    await held.release()
    const ended = await Promise.all(ends)
    await client.lock('hosts/work', { wait: 20_000 }).run(() => {})
    await client.close()
    console.log(`${ended}` === 'SIGKILL,0,0' ? 'done' : ended)
  })
} else {
  work(url, log, Number(process.env.NUMBER)).then(() => process.disconnect())
}
