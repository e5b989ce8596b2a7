// Leasehold beside other lock clients for Node, in one interleaved run.
//
//     cargo xtask bench node [N...], which does: node --expose-gc compare.mjs ETCD [N...]
//
// What counts are the ratios: times are this machine's.

import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { LIBRARIES, TTL } from './contenders.mjs'
import { footprint, versionOf } from './footprint.mjs'
import { median, quantile, ratio, rounds, table, times } from './report.mjs'
import { folder, startEtcd, startRedis } from './servers.mjs'

const [etcd, ...wanted] = process.argv.slice(2)
const REDIS = ['leasehold', 'ioredis, by hand', 'redlock 5', 'redis-semaphore', 'redlock-universal']
/** Those that wait for a lock, and take it from several servers. */
const WAITING = REDIS.filter((name) => name !== 'ioredis, by hand')

const here = (file) => new URL(file, import.meta.url)
const now = () => Number(process.hrtime.bigint()) / 1e6

/** Have a connection of each, and close it in the end. */
async function withAll(names, url, body) {
  const all = {}
  for (const name of names) all[name] = await LIBRARIES[name].open(url)
  try {
    return await body(all)
  } finally {
    for (const one of Object.values(all)) await one.close()
  }
}

const each = (all, body) =>
  Object.fromEntries(Object.entries(all).map(([name, one]) => [name, body(one, name)]))
const pairOf = (take) => async () => (await take())()
const pairsOf = (all) => each(all, (one, name) => pairOf(one.lock(`pair/${name}`)))

const SPAN = 200

/** How long calls took that were made one after the other. */
async function slice(call) {
  const all = []
  const end = now() + SPAN
  for (let before = now(); before < end; ) {
    await call()
    const after = now()
    all.push(after - before)
    before = after
  }
  return all
}

async function pairs() {
  const { url } = await startRedis()
  await withAll(REDIS, url, async (all) => {
    const calls = pairsOf(all)
    const words = { leasehold: 'run', 'redlock 5': 'using', 'redlock-universal': 'using' }
    for (const [name, word] of Object.entries(words)) {
      const hold = all[name].hold(`${word}/${name}`, TTL)
      calls[`${name}, ${word}()`] = () => hold(() => {})
    }
    times('1. Acquire and release, one Redis', await rounds(calls, slice))
  })
}

async function quorum() {
  const { url } = await startRedis(3)
  await withAll(WAITING, url, async (all) => {
    const slices = await rounds(pairsOf(all), slice)
    times('2. Acquire and release, 3 Redis servers; redlock 5 is to take 1.70', slices)
  })
}

const PROCESSES = 4
/**
 * They ask at random moments of this time, because those who ask at one moment, and again
 * every 10 or 100 ms, would all do so at one moment.
 */
const SPREAD = 100
/** What all need to have asked, so that every release meets somebody who waits. */
const HEAD_START = SPREAD + 20

async function handOver() {
  const { url } = await startRedis()
  const workers = Array.from({ length: PROCESSES }, () => fork(here('turns.mjs'), [url, SPREAD, ...WAITING]))
  const answers = () => Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]))
  await answers()
  await withAll(WAITING, url, async (all) => {
    const slices = await rounds(all, async (one, name) => {
      const gaps = []
      for (const end = now() + 1000; now() < end; ) {
        const release = await one.lock(`turns/${name}`)()
        const turns = answers()
        for (const worker of workers) worker.send(name)
        await sleep(HEAD_START)
        const released = now()
        await release()
        gaps.push(...gapsOf(name, released, (await turns).flat()))
      }
      return gaps
    })
    times('3. From the call of release to the next holder, 8 waiters; redis-semaphore is to take 10', slices)
  })
  workers.forEach((worker) => worker.kill())
}

/** From each release to the turn that follows. */
function gapsOf(name, released, turns) {
  turns.sort((a, b) => a.taken - b.taken)
  return turns.map(({ taken }, i) => {
    const gap = taken - (i === 0 ? released : turns[i - 1].released)
    if (gap < 0) throw new Error(`${name} had two holders at once`)
    return gap
  })
}

const NAMES = 1000
const PAIRS = 5

async function crowd() {
  const { url } = await startRedis()
  await withAll(REDIS, url, async (all) => {
    const pipelined = { enableAutoPipelining: true }
    all['ioredis, auto-pipelining'] = await LIBRARIES['ioredis, by hand'].open(url, pipelined)
    const calls = (one, name) =>
      Array.from({ length: NAMES }, (_, i) => pairOf(one.lock(`crowd/${name}/${i}`)))
    const slices = await rounds(each(all, calls), async (calls) => {
      const began = now()
      await Promise.all(
        calls.map(async (call) => {
          for (let i = 0; i < PAIRS; i++) await call()
        }),
      )
      return (now() - began) / (NAMES * PAIRS)
    })
    const rows = Object.entries(slices).map(([name, spans]) => {
      const rates = spans.map((span) => 1000 / span)
      const numbers = [0.5, 0, 1].map((part) => quantile(rates, part).toFixed(0))
      return [name, ...numbers, ratio(slices, name, Number)]
    })
    const columns = ['', 'median', 'least', 'most', 'time to ours']
    table(`4. Pairs/s of ${NAMES} tasks with a name each, one Redis`, columns, rows)
  })
}

const PATIENCE = 12_000

/** Not interleaved: one that does not come back may keep what it has begun. */
async function hung() {
  const { servers, url } = await startRedis(5)
  await withAll(WAITING, url, async (all) => {
    // Connected, scripts loaded.
    for (const call of Object.values(pairsOf(all))) await slice(call)
    for (const server of servers.slice(3)) server.kill('SIGSTOP')
    const rows = []
    for (const [name, one] of Object.entries(all)) {
      const spans = await patientSlice(one.lock(`hung/${name}`))
      const numbers = [median(spans), quantile(spans, 0.99), spans[0]].map((span) => span?.toFixed(2))
      const none = [`never in ${PATIENCE / 1000} s`, '', '']
      rows.push([name, spans.length, ...(spans.length ? numbers : none)])
    }
    for (const server of servers) server.kill('SIGCONT')
    const columns = ['', 'acquired', 'p50, ms', 'p99, ms', 'first, ms']
    table('5. Acquire, 5 Redis servers of which 2 are stopped (SIGSTOP)', columns, rows)
  })
}

/** How long acquisitions took, for as long as there is patience. */
async function patientSlice(take) {
  const spans = []
  const end = now() + PATIENCE
  const inTime = (promise) => Promise.race([promise, sleep(end - now(), 'late', { ref: false })])
  while (spans.length < 500) {
    const before = now()
    const taking = take()
    const release = await inTime(taking)
    if (release === 'late') {
      // By redis-semaphore, a lock that is lost ends the process.
      taking.then((release) => release()).catch(() => {})
      break
    }
    spans.push(now() - before)
    if ((await inTime(release())) === 'late') break
  }
  return spans
}

async function onEtcd() {
  const { url } = await startEtcd(etcd)
  await withAll(['leasehold', 'etcd3'], url, async (all) =>
    times('6. Acquire and release, one etcd', await rounds(pairsOf(all), slice)),
  )
}

const BLOCKED_TTL = 1000
const BUSY = 3000

async function blocked() {
  const [redis, members] = [(await startRedis()).url, (await startEtcd(etcd)).url]
  const rows = []
  for (const name of WAITING) rows.push([name, ...(await blockedHolder(name, redis))])
  for (const name of ['leasehold', 'etcd3']) rows.push([`${name}, etcd`, ...(await blockedHolder(name, members))])
  table(
    `7. A holder with a ttl of ${BLOCKED_TTL} ms whose event loop is blocked for ${BUSY} ms`,
    ['', 'holds it to the end', 'another had it after, ms', 'the holder is told'],
    rows,
  )
}

/** Somebody else wants the lock all the time. */
async function blockedHolder(name, url) {
  const other = await LIBRARIES[name].open(url)
  const holder = fork(here('blocked.mjs'), [url, name, BLOCKED_TTL, BUSY], { stdio: 'ignore' })
  const [{ held }] = await once(holder, 'message')
  const end = once(holder, 'message').then(([{ wasTold }]) => wasTold)
  const taken = takeAtLast(other.lock(`blocked/${name}`)).then(() => now() - held)
  const after = await Promise.race([taken, end.then(() => null)])
  const wasTold = await end
  holder.kill('SIGKILL')
  if (after === null) return ['yes', '', '']
  return ['no', after.toFixed(0), wasTold ? 'after the block' : 'never']
}

/** etcd3 does not wait. */
async function takeAtLast(take) {
  for (;;) {
    try {
      return await take()
    } catch {
      await sleep(20)
    }
  }
}

async function startUp() {
  const [redis, members] = [(await startRedis()).url, (await startEtcd(etcd)).url]
  const places = { 'leasehold, SQLite': [`sqlite:${join(folder, 'locks.db')}`, 'leasehold'] }
  for (const name of REDIS) places[`${name}, Redis`] = [redis, name]
  for (const name of ['leasehold', 'etcd3']) places[`${name}, etcd`] = [members, name]
  places['Node alone'] = []
  const loading = {}
  const slices = await rounds(places, (words, title) =>
    Array.from({ length: 3 }, () => {
      const began = now()
      const said = JSON.parse(execFileSync(process.execPath, [fileURLToPath(here('first.mjs')), ...words]))
      ;(loading[title] ??= []).push(said.loading)
      return said.taken - began
    }),
  )
  times('8. Start of the process to its first lock', slices, {
    unit: 1,
    more: { 'require, ms': (title) => median(loading[title]).toFixed(1) },
  })
  const rows = Object.entries(LIBRARIES).map(([name, { packages }]) => {
    const sum = footprint(packages)
    return [name, sum.packages, sum.files, (sum.bytes / 1e6).toFixed(2)]
  })
  table('8. Installed, with what it needs', ['', 'packages', 'files', 'MB'], rows)
}

const MEASURES = [pairs, quorum, handOver, crowd, hung, onEtcd, blocked, startUp]

const said = (program) => execFileSync(program, ['--version']).toString().split('\n')[0]
const load = () => loadavg().map((value) => value.toFixed(1)).join(' ')

async function main() {
  const isKnown = (word) => /^\d$/.test(word) && MEASURES[word - 1]
  if (!etcd || !globalThis.gc || !wanted.every(isKnown)) {
    throw `usage: node --expose-gc compare.mjs ETCD [N...], each N from 1 to ${MEASURES.length}`
  }
  const packages = new Set(Object.values(LIBRARIES).flatMap((library) => library.packages))
  console.log('## Leasehold for Node beside others\n')
  console.log(`Node ${process.version}; ${[...packages].map(versionOf).join(', ')}.`)
  console.log(`${said('redis-server')}. ${said(etcd)}.`)
  console.log(`${cpus().length} × ${cpus()[0].model}; load average ${load()}.`)
  console.log('"To ours" is the median of the ratios of all rounds to the first line; above 1 is slower.')
  for (const measure of wanted.length ? wanted.map(isKnown) : MEASURES) await measure()
  console.log(`\nLoad average at the end: ${load()}.`)
}

await main().catch((error) => {
  console.error(error.stack ?? error)
  process.exitCode = 1
})
process.exit()
