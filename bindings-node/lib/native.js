'use strict'
// The native part, which comes in a package for each platform. Their names are written out, so
// that tools which copy what a server needs find them. No bundler can take them into its file:
// name `leasehold` as external.

const fs = require('node:fs')

const packages = {
  'linux-x64-gnu': () => require('leasehold-linux-x64-gnu'),
  'linux-x64-musl': () => require('leasehold-linux-x64-musl'),
  'linux-arm64-gnu': () => require('leasehold-linux-arm64-gnu'),
  'linux-arm64-musl': () => require('leasehold-linux-arm64-musl'),
  'darwin-x64': () => require('leasehold-darwin-x64'),
  'darwin-arm64': () => require('leasehold-darwin-arm64'),
}

/** Which C library Node has, by its first page. A report of Node looks up all its peers in the DNS. */
function library() {
  const [file, page] = [fs.openSync(process.execPath), Buffer.alloc(4096)]
  fs.readSync(file, page)
  fs.closeSync(file)
  return page.includes('/ld-musl-') ? 'musl' : 'gnu'
}

function load() {
  const { platform: system, arch } = process
  const platform = system === 'linux' ? `linux-${arch}-${library()}` : `${system}-${arch}`
  const name = `leasehold-${platform}`
  if (!Object.hasOwn(packages, platform)) {
    throw new Error(`there is no package ${name}: leasehold runs on ${Object.keys(packages).join(', ')}`)
  }
  try {
    return packages[platform]()
  } catch (cause) {
    throw new Error(`the package ${name} ${cause.code === 'MODULE_NOT_FOUND' ? MISSING : broken(cause)}`, { cause })
  }
}

const MISSING = 'is missing, which has the native part of leasehold for this platform. npm leaves it out with \
--omit=optional, and when node_modules or package-lock.json came from another platform. Run \
`npm install --include=optional` on this one; if it is missing still, remove both first'

const broken = ({ message }) => `cannot be loaded: ${message}. If the system is too old for it, build leasehold \
on it with \`cargo xtask node\`; if not, remove node_modules and install again`

module.exports = load()
