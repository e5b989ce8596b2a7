// The libraries, each used as its manual shows, with one connection to each server and
// a ttl of 10 s. How often and how long they try again is theirs, except that nobody
// gives up: of eight waiters some would, by the defaults of redlock (10 times) and
// redlock-universal (3 times).
//
// `open(url)` answers an object with
//   lock(name)       a function that takes the lock and answers one that gives it back
//   hold(name, ttl)  a function that runs a body while it holds and renews the lock,
//                    where there is a way to do so; the body gets a signal of the loss
//   close()

import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'

const OURS = process.env.LEASEHOLD_NODE_PACKAGE
if (!OURS) throw new Error('LEASEHOLD_NODE_PACKAGE is not set; use `cargo xtask bench node`')

export const TTL = 10_000
// Not by import: of each library only the time to load itself is to be measured.
export const require = createRequire(import.meta.url)

const leasehold = {
  packages: [OURS],
  async open(url) {
    const client = await require(OURS).connect(url, { ttl: TTL })
    return {
      lock(name) {
        const lock = client.lock(name)
        return async () => {
          const lease = await lock.acquire()
          return () => lease.release()
        }
      },
      hold(name, ttl) {
        const lock = client.lock(name, { ttl })
        return (body) => lock.run(({ signal }) => body(signal))
      },
      close: () => client.close(),
    }
  },
}

/** `redis://HOST` and `redlock://HOST,HOST,HOST`, for those to whom a connection is given. */
function connections(url, options = {}) {
  const { Redis } = require('ioredis')
  const hosts = url.split('//')[1].split(',')
  const all = hosts.map((host) => new Redis(`redis://${host}`, options))
  return { all, close: () => all.forEach((redis) => redis.disconnect()) }
}

const RELEASE = `
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0`

/** What one writes by hand; it does not wait, nor renew. */
const ioredis = {
  packages: ['ioredis'],
  async open(url, options) {
    const { all: [redis], close } = connections(url, options)
    redis.defineCommand('unlock', { numberOfKeys: 1, lua: RELEASE })
    const lock = (name) => async () => {
      const token = randomUUID()
      if ((await redis.set(name, token, 'PX', TTL, 'NX')) !== 'OK') throw new Error('busy')
      return () => redis.unlock(name, token)
    }
    return { lock, close }
  },
}

/** `acquire` does not renew; `using` does, in JavaScript. */
const redlock = {
  packages: ['redlock', 'ioredis'],
  async open(url) {
    const { all, close } = connections(url)
    const { default: Redlock } = require('redlock')
    const redlock = new Redlock(all)
    // For acquisitions only: a release of what was lost would be tried without end, too.
    const patient = { retryCount: -1 }
    const lock = (name) => async () => {
      const held = await redlock.acquire([name], TTL, patient)
      return () => held.release()
    }
    const hold = (name, ttl) => (body) => redlock.using([name], ttl, patient, body)
    return { lock, hold, close }
  },
}

/** It renews in JavaScript. A mutex is used again, which is faster than to make a new one. */
const redisSemaphore = {
  packages: ['redis-semaphore', 'ioredis'],
  async open(url) {
    const { all, close } = connections(url)
    const { Mutex, RedlockMutex } = require('redis-semaphore')
    const mutexOf = (name, options) =>
      all.length > 1 ? new RedlockMutex(all, name, options) : new Mutex(all[0], name, options)
    const lock = (name) => {
      const mutex = mutexOf(name, { lockTimeout: TTL, acquireTimeout: Infinity })
      return async () => {
        await mutex.acquire()
        return () => mutex.release()
      }
    }
    const hold = (name, ttl) => async (body) => {
      const controller = new AbortController()
      const onLockLost = (error) => controller.abort(error)
      const mutex = mutexOf(name, { lockTimeout: ttl, acquireTimeout: Infinity, onLockLost })
      await mutex.acquire()
      try {
        return await body(controller.signal)
      } finally {
        await mutex.release()
      }
    }
    return { lock, hold, close }
  },
}

/** `acquire` does not renew; `using` does, in JavaScript. */
const redlockUniversal = {
  packages: ['redlock-universal', 'ioredis'],
  async open(url) {
    const { all, close } = connections(url)
    const { createLock, createRedlock, IoredisAdapter } = require('redlock-universal')
    const adapters = all.map((redis) => new IoredisAdapter(redis))
    const lockOf = (key, ttl) => {
      const options = { key, ttl, retryAttempts: Number.MAX_SAFE_INTEGER }
      if (adapters.length > 1) return createRedlock({ adapters, ...options })
      return createLock({ adapter: adapters[0], ...options })
    }
    const lock = (name) => {
      const lock = lockOf(name, TTL)
      return async () => {
        const handle = await lock.acquire()
        return () => lock.release(handle)
      }
    }
    const hold = (name, ttl) => {
      const lock = lockOf(name, ttl)
      return (body) => lock.using(body)
    }
    return { lock, hold, close }
  },
}

/** It does not wait, and has one etcd lease for each acquisition. It renews in JavaScript. */
const etcd3 = {
  packages: ['etcd3'],
  async open(url) {
    const { Etcd3 } = require('etcd3')
    const client = new Etcd3({ hosts: url.replace('etcd:', 'http:') })
    const lock = (name) => async () => {
      const held = await client.lock(name).ttl(TTL / 1000).acquire()
      return () => held.release()
    }
    const hold = (name, ttl) => (body) => client.lock(name).ttl(ttl / 1000).do(() => body())
    return { lock, hold, close: () => client.close() }
  },
}

export const LIBRARIES = {
  leasehold,
  'ioredis, by hand': ioredis,
  'redlock 5': redlock,
  'redis-semaphore': redisSemaphore,
  'redlock-universal': redlockUniversal,
  etcd3,
}
