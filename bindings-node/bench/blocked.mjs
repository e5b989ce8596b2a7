// A holder whose JavaScript is busy for longer than its ttl: node blocked.mjs URL LIBRARY TTL BUSY

import { setTimeout as sleep } from 'node:timers/promises'
import { LIBRARIES } from './contenders.mjs'

const [url, name, ttl, busy] = process.argv.slice(2)
const { hold } = await LIBRARIES[name].open(url)
const body = async (signal) => {
  let wasTold = false
  signal?.addEventListener('abort', () => (wasTold = true))
  const held = Number(process.hrtime.bigint()) / 1e6
  await new Promise((resolve) => process.send({ held }, resolve))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(busy))
  // What is on its way comes now.
  await sleep(500)
  await new Promise((resolve) => process.send({ wasTold }, resolve))
}
process.on('disconnect', () => process.exit())
// The release of a lock that is lost may fail.
hold(`blocked/${name}`, Number(ttl))(body).catch(() => {})
