// One of the processes between which a lock is handed over: node turns.mjs URL SPREAD LIBRARY...
// Told of a library, its tasks take a turn each, which they ask for at random moments of
// SPREAD milliseconds, and it answers when they had the lock and gave it back, by the clock
// that all processes of a machine share.

import { setTimeout as sleep } from 'node:timers/promises'
import { LIBRARIES } from './contenders.mjs'

const TASKS = 2
const HOLD = 1

const now = () => Number(process.hrtime.bigint()) / 1e6

async function turn(take) {
  await sleep(Math.random() * spread)
  const release = await take()
  const taken = now()
  await sleep(HOLD)
  const released = now()
  await release()
  return { taken, released }
}

const [url, spread, ...names] = process.argv.slice(2)
const tasks = {}
for (const name of names) {
  const { lock } = await LIBRARIES[name].open(url)
  // The first acquisition connects.
  await (await lock(`warm-up/${process.pid}`)())()
  tasks[name] = Array.from({ length: TASKS }, () => lock(`turns/${name}`))
}
process.on('message', async (name) => process.send(await Promise.all(tasks[name].map(turn))))
process.on('disconnect', () => process.exit())
process.send('ready')
