'use strict'
// A PostgreSQL and a MariaDB of the tests' own.

const assert = require('node:assert/strict')
const { execFileSync, spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { freePort, until } = require('./rig.js')

/** Debian keeps servers off the PATH. */
function program(name) {
  const packaged = '/usr/lib/postgresql'
  const versions = fs.existsSync(packaged) ? fs.readdirSync(packaged).sort().reverse() : []
  const folders = [...versions.map((version) => `${packaged}/${version}/bin`), '/usr/sbin', ...process.env.PATH.split(':')]
  const found = folders.map((folder) => path.join(folder, name)).find((file) => fs.existsSync(file))
  assert.ok(found, `${name} is not here; \`cargo xtask test\` installs it, as root`)
  return found
}

class Database {
  /** It ends, and what it stored is gone, when it is stopped. */
  static async start() {
    const server = new this()
    server.place = fs.mkdtempSync(path.join(os.tmpdir(), 'leasehold-'))
    server.make()
    for (let tries = 0; tries < 5; tries += 1) {
      server.port = await freePort()
      const [command, ...options] = server.command()
      server.process = spawn(command, options, { cwd: server.place, stdio: 'ignore', ...server.owner() })
      // Somebody else may have taken the port meanwhile.
      await until(() => server.#answers() || server.process.exitCode !== null)
      if (server.process.exitCode === null) return server
    }
    throw new Error(`${this.name} did not start`)
  }

  /** As whom it runs, who has all of its folder: none of these runs as root. */
  owner() {
    if (process.geteuid() !== 0) return {}
    const [uid, gid] = ['-u', '-g'].map((which) => Number(execFileSync('id', [which, this.user])))
    execFileSync('chown', ['-R', `${uid}:${gid}`, this.place])
    return { uid, gid }
  }

  run([command, ...options]) {
    execFileSync(command, options, { cwd: this.place, stdio: 'ignore', ...this.owner() })
  }

  #answers() {
    try {
      return this.ask('SELECT 1') === '1'
    } catch {
      return false
    }
  }

  say([command, ...options]) {
    return execFileSync(command, options, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  }

  stop() {
    this.process.kill('SIGKILL')
    fs.rmSync(this.place, { recursive: true, force: true, maxRetries: 5 })
  }
}

class Postgres extends Database {
  user = 'postgres'
  get url() { return `postgres://rig@127.0.0.1:${this.port}/postgres?sslmode=disable` }

  make() {
    const made = [program('initdb'), '-D', `${this.place}/data`, '-U', 'rig', '-A', 'trust']
    this.run([...made, '-E', 'UTF8', '--locale=C', '--no-sync'])
  }

  command() {
    const options = { listen_addresses: '127.0.0.1', port: this.port, fsync: 'off', unix_socket_directories: this.place }
    const said = Object.entries(options).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    return [program('postgres'), '-D', `${this.place}/data`, ...said]
  }

  ask(sql) {
    const where = ['-h', '127.0.0.1', '-p', `${this.port}`, '-U', 'rig', '-d', 'postgres']
    return this.say([program('psql'), '-XAtq', ...where, '-c', sql])
  }
}

class Mariadb extends Database {
  user = 'mysql'
  get url() { return `mysql://rig@127.0.0.1:${this.port}/jobs?sslmode=disable` }

  make() {
    const made = [program('mariadb-install-db'), '--no-defaults', `--datadir=${this.place}/data`]
    this.run([...made, '--auth-root-authentication-method=normal', '--skip-test-db'])
    fs.writeFileSync(
      `${this.place}/first.sql`,
      "CREATE USER rig@'%';\nGRANT ALL ON *.* TO rig@'%';\nDROP USER IF EXISTS ''@'localhost';\nCREATE DATABASE jobs;\n",
    )
  }

  command() {
    const options = { datadir: `${this.place}/data`, socket: `${this.place}/socket`, 'init-file': `${this.place}/first.sql`, port: this.port, 'bind-address': '127.0.0.1' }
    const said = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
    return [program('mariadbd'), '--no-defaults', '--skip-name-resolve', ...said]
  }

  ask(sql) {
    const where = ['-u', 'rig', '-S', `${this.place}/socket`, '-D', 'jobs']
    return this.say([program('mariadb'), '--no-defaults', '-NB', ...where, '-e', sql])
  }
}

module.exports = { Mariadb, Postgres }
