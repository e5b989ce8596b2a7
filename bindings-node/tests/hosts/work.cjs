'use strict'
// What one of several processes does: ten turns under a lock, noted in a file. The first dies in one of them.

const fs = require('node:fs')
const { connect } = require('leasehold')

exports.work = async (url, log, number) => {
  const client = await connect(url, { ttl: 2_000 })
  const lock = client.lock('hosts/work')
  for (let turn = 0; turn < 10; turn++) {
    await lock.run(async () => {
      fs.appendFileSync(log, `${number} ${turn} begin\n`)
      await new Promise((resolve) => setTimeout(resolve, 2))
      fs.appendFileSync(log, `${number} ${turn} end\n`)
    })
  }
  if (number === 0) {
    // While others wait.
    await lock.acquire()
    process.kill(process.pid, 'SIGKILL')
  }
  await client.close()
}
