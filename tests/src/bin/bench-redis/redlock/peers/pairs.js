// Pairs of acquire and release by a library: see ../peers.rs.

const { Redis } = require('ioredis')
const [library, ...ports] = process.argv.slice(2)
const servers = ports.map((port) => new Redis({ port: Number(port) }))
const lines = require('node:readline').createInterface({ input: process.stdin })

function nodeRedlock() {
  const Redlock = require('redlock').default
  const redlock = new Redlock(servers)
  return async () => (await redlock.acquire(['peer-node-redlock'], 10_000)).release()
}

function redisSemaphore() {
  const { RedlockMutex } = require('redis-semaphore')
  const mutex = new RedlockMutex(servers, 'peer-redis-semaphore', { lockTimeout: 10_000 })
  return async () => {
    await mutex.acquire()
    await mutex.release()
  }
}

async function main() {
  const pair = library === 'node-redlock' ? nodeRedlock() : redisSemaphore()
  for await (const line of lines) {
    const times = []
    const end = performance.now() + Number(line)
    for (let before = performance.now(); before < end; ) {
      await pair()
      const after = performance.now()
      times.push(after - before)
      before = after
    }
    times.sort((a, b) => a - b)
    console.log((times[times.length >> 1] * 1000).toFixed(1))
  }
  servers.forEach((server) => server.disconnect())
}

main()
