'use strict'
// Servers, programs and patience for the tests.

const assert = require('node:assert/strict')
const { spawn, spawnSync } = require('node:child_process')
const net = require('node:net')
const path = require('node:path')

const PACKAGE = process.env.LEASEHOLD_NODE_PACKAGE
assert.ok(PACKAGE, 'LEASEHOLD_NODE_PACKAGE is set by `cargo xtask test`; see `cargo xtask node`')
const leasehold = require(PACKAGE)
/** Where it is installed: a program there finds it by its name, and the tools that package.json pins. */
const INSTALLED = path.join(PACKAGE, '../..')
/** Where the commands of those are. */
const TOOLS = path.join(INSTALLED, '../node_modules/.bin')

/** Of a lease that a test wants to see given back, not expired. */
const LONG = 60_000
/** A loaded machine is slow; what hangs does so for longer than this. */
const PATIENCE = 20_000

const sleep = (span) => new Promise((resolve) => setTimeout(resolve, span))

/** Ask until the answer is true, and answer that. */
async function until(condition, within = PATIENCE) {
  const end = performance.now() + within
  for (;;) {
    const answer = await condition()
    if (answer) return answer
    assert.ok(performance.now() < end, 'waited in vain')
    await sleep(5)
  }
}

/** Somebody else has it soon, long before the ttl of whoever held it. */
async function assertFree(client, name, within = 5_000) {
  const lease = await client.lock(name, { ttl: LONG, wait: within }).acquire()
  await lease.release()
}

let names = 0
const newName = () => `n${process.pid}/${++names}`

/** A server of the test's own, with nothing in it. */
class Redis {
  static async start() {
    const redis = new Redis()
    redis.port = await freePort()
    const options = ['--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
    redis.process = spawn('redis-server', ['--port', `${redis.port}`, ...options], { stdio: 'ignore' })
    redis.url = `redis://127.0.0.1:${redis.port}`
    await until(() => answers(redis.port))
    return redis
  }

  /** What it answers to a command, as a text. */
  ask(...command) {
    return spawnSync('redis-cli', ['-p', `${this.port}`, ...command], { encoding: 'utf8' }).stdout.trim()
  }

  pause() {
    this.process.kill('SIGSTOP')
  }

  resume() {
    this.process.kill('SIGCONT')
  }

  stop() {
    this.process.kill('SIGKILL')
  }
}

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(true))
    socket.on('connect', () => socket.destroy()).on('error', () => resolve(false))
  })
}

/** A program, which has `leasehold` and its arguments from 2 on. */
function start(source, ...given) {
  const flags = ['--expose-gc', '-e', `const leasehold = require(process.argv[1])\n${source}`]
  return listen(spawn(process.execPath, [...flags, PACKAGE, ...given], { stdio: 'pipe' }))
}

/** Have a program say what it says, and that it ended. */
function listen(child) {
  const said = (child.said = { out: '', err: '' })
  child.stdout.on('data', (data) => (said.out += data))
  child.stderr.on('data', (data) => (said.err += data))
  const timer = setTimeout(() => child.kill('SIGKILL'), 2 * PATIENCE)
  child.ended = new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, ...said })
    })
  })
  child.says = (word) => until(() => said.out.includes(word))
  return child
}

/** What a program writes that ends well and says nothing on stderr. */
async function run(source, ...given) {
  const { code, signal, out, err } = await start(source, ...given).ended
  assert.deepEqual({ code, signal, err }, { code: 0, signal: null, err: '' }, `${out}\n${source}`)
  return out
}

/** Have the garbage collected, finalizers and all. */
async function collect() {
  for (let i = 0; i < 3; i++) {
    await sleep(1)
    globalThis.gc()
  }
}

/** Keep JavaScript busy. */
function block(span) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, span)
}

module.exports = { leasehold, PACKAGE, INSTALLED, TOOLS, LONG, Redis, sleep, until, freePort, assertFree, newName, start, listen, run, collect, block }
