// What an installed package has on disk, with all that it needs.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = dirname(fileURLToPath(import.meta.url))

/** The folders of the packages of these names, and of those that they need. */
function foldersOf(names, from, found = new Set()) {
  for (const name of names) {
    const folder = isAbsolute(name) ? name : folderOf(name, from)
    if (found.has(folder)) continue
    found.add(folder)
    const { dependencies, optionalDependencies } = manifest(folder)
    foldersOf(Object.keys({ ...dependencies, ...optionalDependencies }), folder, found)
  }
  return found
}

/** Where Node finds it. */
function folderOf(name, from) {
  const folder = join(from, 'node_modules', name)
  if (existsSync(folder)) return folder
  if (from === dirname(from)) throw new Error(`${name} is not installed`)
  return folderOf(name, dirname(from))
}

const manifest = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

export const versionOf = (name) => {
  const { name: called, version } = manifest(isAbsolute(name) ? name : folderOf(name, HERE))
  return `${called} ${version}`
}

export function footprint(names) {
  const folders = foldersOf(names, HERE)
  const sum = { packages: folders.size, files: 0, bytes: 0 }
  const add = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name)
      // Those in there are packages of their own.
      if (entry.isDirectory() && entry.name !== 'node_modules') add(path)
      if (!entry.isFile()) continue
      sum.files += 1
      sum.bytes += statSync(path).size
    }
  }
  folders.forEach(add)
  return sum
}
