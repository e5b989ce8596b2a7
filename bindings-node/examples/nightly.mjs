// A job that cron starts on three machines at the same time. One does it; the others stand by, and the next
// goes on where it stopped if it dies. A holder that was suspended and wakes up late cannot spoil anything: the
// database refuses a fence that is smaller than one it has seen.
//
//     REDIS_URL=redis://127.0.0.1 node nightly.mjs 2026-11-21

import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { connect } from 'leasehold'

const STEPS = 20
const { REDIS_URL } = process.env
const date = process.argv[2] ?? new Date().toISOString().slice(0, 10)
const report = `report:${date}`

const database = new Redis(REDIS_URL)
// How many steps are done, after this one if there is one.
database.defineCommand('reach', {
  numberOfKeys: 1,
  lua: `
    local fence, step = ARGV[1], ARGV[2]
    if tonumber(fence) < tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) then
      return redis.error_reply('TOOLATE somebody has the job who came later')
    end
    redis.call('HSET', KEYS[1], 'fence', fence)
    if step then redis.call('HSET', KEYS[1], 'done', step) end
    return tonumber(redis.call('HGET', KEYS[1], 'done') or 0)`,
})

async function work({ fence, signal }) {
  // Also the first thing that it reads it reads with the fence: from here on, earlier holders are refused.
  let done = await database.reach(report, fence)
  if (done === STEPS) return console.log('it is done')
  console.log('going on after step', done)
  while (done < STEPS) {
    await sleep(100, undefined, { signal }) // a part of the work
    done = await database.reach(report, fence, done + 1)
  }
  console.log('did it')
}

// The next holder goes on 2 s after this one died.
const client = await connect(REDIS_URL, { ttl: 2_000, label: 'nightly' })
const lock = client.lock(`nightly/${date}`, { maxHold: 3_600_000 })
const status = await client.status(lock.name)
if (status?.holder) console.log(status.holder.label, 'is at it')
await lock.run(work)
await Promise.all([client.close(), database.quit()])
