'use strict'
// The package as it is installed, and what it says where its native part is not.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { INSTALLED, PACKAGE } = require('./rig.js')

const { version } = require(path.join(PACKAGE, 'package.json'))
const { dependencies } = require(path.join(INSTALLED, 'package.json'))
const tarballs = Object.values(dependencies).map((file) => path.join(INSTALLED, file.replace('file:', '')))
const [whole] = tarballs.filter((file) => path.basename(file) === `leasehold-${version}.tgz`)
const [part] = Object.keys(dependencies).filter((name) => name !== 'leasehold')

let place
before(() => (place = fs.mkdtempSync(path.join(os.tmpdir(), 'leasehold-'))))
after(() => fs.rmSync(place, { recursive: true }))

/** An empty folder with nothing but these. */
function install(name, files) {
  const folder = path.join(place, name)
  fs.mkdirSync(folder)
  fs.writeFileSync(path.join(folder, 'package.json'), '{}')
  const { status, stderr } = tell('npm', ['install', '--offline', '--no-audit', '--no-fund', ...files], folder)
  assert.equal(status, 0, stderr)
  return folder
}

function tell(program, args, cwd) {
  return spawnSync(program, args, { cwd, encoding: 'utf8', timeout: 120_000 })
}

const node = (folder, ...args) => tell(process.execPath, args, folder)

test('in an empty folder, import and require and the command line work', () => {
  const folder = install('both', tarballs)
  const source = `
    import { createRequire } from 'node:module'
    import * as imported from 'leasehold'
    const required = createRequire(import.meta.url)('leasehold')
    for (const [name, value] of Object.entries(required)) if (imported[name] !== value) throw new Error(name)
    const client = await imported.connect('memory:')
    console.log(Object.keys(imported).length, await client.lock('x').run(({ fence }) => fence > 0n))
    await client.close()`
  fs.writeFileSync(path.join(folder, 'program.mjs'), source)
  const { status, stdout, stderr } = node(folder, 'program.mjs')
  assert.deepEqual([status, stdout, stderr], [0, '20 true\n', ''])
  const database = `sqlite:${path.join(folder, 'locks.db')}`
  const line = tell('npx', ['--offline', 'leasehold', '--url', database, 'run', 'x', '--', 'echo', 'done'], folder)
  assert.deepEqual([line.status, line.stdout], [0, 'done\n'], line.stderr)
  assert.deepEqual(fs.readdirSync(path.join(folder, 'node_modules', part)).sort(), ['LICENSE', 'README.md', 'leasehold',
    `leasehold.${part.slice('leasehold-'.length)}.node`, 'package.json'])
})

test('without the package of this platform, the error names it and the cure', () => {
  const folder = install('alone', [whole])
  for (const program of ["require('leasehold')", "import('leasehold')"]) {
    const { status, stderr } = node(folder, '-e', program)
    assert.equal(status, 1)
    assert.match(stderr, new RegExp(`Error: the package ${part} is missing`))
    assert.match(stderr, /--omit=optional.*`npm install --include=optional`/)
  }
  const line = tell(path.join(folder, 'node_modules/.bin/leasehold'), ['run', 'x', '--', 'echo', 'done'], folder)
  assert.deepEqual([line.status, line.stdout], [70, ''])
  assert.match(line.stderr, new RegExp(`^leasehold: the package ${part} is missing.*\n$`))
})

/** What a Node of another platform would say. */
function pretend(folder, as) {
  const source = `for (const [name, value] of Object.entries(${JSON.stringify(as)})) {
    Object.defineProperty(process, name, { value })
  }
  require('leasehold')`
  return node(folder, '-e', source).stderr
}

test('a platform for which there is no package is told so', () => {
  assert.match(pretend(INSTALLED, { platform: 'win32', arch: 'x64' }),
    /Error: there is no package leasehold-win32-x64: leasehold runs on linux-x64-gnu, /)
  assert.match(pretend(INSTALLED, { platform: 'linux', arch: 's390x' }), /no package leasehold-linux-s390x-/)
})

test('every platform asks for the package that is built for it', () => {
  const folder = install('none', [whole])
  // Node tells its C library by its first page.
  const library = (loader) => {
    const file = path.join(place, path.basename(loader))
    fs.writeFileSync(file, `\x7fELF\0\0${loader}\0`)
    return file
  }
  const gnu = library('/lib64/ld-linux-x86-64.so.2')
  const musl = library('/lib/ld-musl-x86_64.so.1')
  const asked = {
    'x86_64-unknown-linux-gnu': ['linux-x64-gnu', { platform: 'linux', arch: 'x64', execPath: gnu }],
    'x86_64-unknown-linux-musl': ['linux-x64-musl', { platform: 'linux', arch: 'x64', execPath: musl }],
    'aarch64-unknown-linux-gnu': ['linux-arm64-gnu', { platform: 'linux', arch: 'arm64', execPath: gnu }],
    'aarch64-unknown-linux-musl': ['linux-arm64-musl', { platform: 'linux', arch: 'arm64', execPath: musl }],
    'x86_64-apple-darwin': ['darwin-x64', { platform: 'darwin', arch: 'x64' }],
    'aarch64-apple-darwin': ['darwin-arm64', { platform: 'darwin', arch: 'arm64' }],
  }
  assert.deepEqual(Object.keys(asked).sort(), [...require('../package.json').napi.targets].sort())
  for (const [name, as] of Object.values(asked)) {
    const said = pretend(folder, as)
    assert.match(said, new RegExp(`the package leasehold-${name} is missing`))
    assert.match(said, new RegExp(`Cannot find module 'leasehold-${name}'`))
  }
})

test('a native part that cannot be loaded is named, with what the system said', () => {
  const folder = install('broken', tarballs)
  const native = path.join(folder, 'node_modules', part)
  const [file] = fs.readdirSync(native).filter((name) => name.endsWith('.node'))
  fs.writeFileSync(path.join(native, file), 'this is no library')
  const { status, stderr } = node(folder, '-e', "require('leasehold')")
  assert.equal(status, 1)
  assert.match(stderr, new RegExp(`Error: the package ${part} cannot be loaded: .*${file}.*cargo xtask node`))
})
