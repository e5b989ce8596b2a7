// Servers with nothing in them, on free ports, in a folder that is deleted.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export const folder = mkdtempSync(join(tmpdir(), 'leasehold-bench-'))
const running = []
// However this ends.
process.on('exit', () => {
  for (const server of running) server.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

/** Servers of Redis, as processes, and the URL of all of them. */
export async function startRedis(count = 1) {
  const servers = []
  const hosts = []
  for (let i = 0; i < count; i++) {
    const port = await freePort()
    servers.push(await serve('redis-server', ['--port', port, '--bind', '127.0.0.1', '--save', ''], port))
    hosts.push(`127.0.0.1:${port}`)
  }
  return { servers, url: `${count > 1 ? 'redlock' : 'redis'}://${hosts.join(',')}` }
}

/** One etcd that does not wait for the disk, which would hide everything else. */
export async function startEtcd(program) {
  const [port, peers] = [await freePort(), await freePort()]
  const [url, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peers}`]
  const options = {
    'data-dir': join(folder, `etcd-${port}`),
    'listen-client-urls': url,
    'advertise-client-urls': url,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': `default=${peer}`,
  }
  const words = Object.entries(options).map(([key, value]) => `--${key}=${value}`)
  await serve(program, ['--unsafe-no-fsync', ...words], port)
  return { url: `etcd://127.0.0.1:${port}` }
}

async function serve(program, options, port) {
  const server = spawn(program, options.map(String), { cwd: folder, stdio: 'ignore' })
  running.push(server)
  let failure
  server.on('error', (error) => (failure = error))
  server.on('exit', (code) => (failure ??= new Error(`${program} ended with ${code}`)))
  for (let i = 0; i < 600; i++) {
    if (failure) throw failure
    if (await answers(port)) return server
    await sleep(50)
  }
  throw new Error(`${program} does not answer on port ${port}`)
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
