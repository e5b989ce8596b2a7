// The locks of node-redlock, one command per line: see interop.rs.

const { Redis } = require('ioredis')
const Redlock = require('redlock')
const lines = require('node:readline').createInterface({ input: process.stdin })

const server = new Redis({ port: Number(process.argv[2]) })
const once = new Redlock([server], { retryCount: 0 })
const patient = new Redlock([server], { retryCount: 500, retryDelay: 20 })
const locks = {}
const say = (word) => console.log(word)

async function main() {
  for await (const line of lines) {
    const [command, name, ttl] = line.split(' ')
    if (command === 'release') {
      await locks[name].unlock().then(() => say('released'), () => say('not owned'))
      continue
    }
    if (command === 'wait') say('waiting')
    const redlock = command === 'wait' ? patient : once
    try {
      locks[name] = await redlock.lock(name, Number(ttl))
      say('granted')
    } catch (e) {
      if (e.name !== 'LockError') throw e
      say('busy')
    }
  }
  server.disconnect()
}

main()
