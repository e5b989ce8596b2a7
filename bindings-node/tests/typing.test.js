'use strict'
// The types, as TypeScript sees them where the package is installed.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { INSTALLED, TOOLS } = require('./rig.js')

const STRICT = ['--strict', '--exactOptionalPropertyTypes', '--noUnusedLocals', '--module', 'nodenext',
  '--target', 'es2022', '--lib', 'es2022,esnext.disposable', '--types', 'node']
const place = path.join(INSTALLED, 'typing')

before(() => fs.mkdirSync(place))
after(() => fs.rmSync(place, { recursive: true }))

function compile(...given) {
  const { status, stdout } = spawnSync(path.join(TOOLS, 'tsc'), [...STRICT, ...given], { cwd: place, encoding: 'utf8' })
  return [status, stdout]
}

for (const suffix of ['mts', 'cts']) {
  test(`what the types allow in .${suffix}, and what not`, () => {
    fs.copyFileSync(path.join(__dirname, 'typing.ts'), path.join(place, `typing.${suffix}`))
    assert.deepEqual(compile('--noEmit', `typing.${suffix}`), [0, ''])
  })

  test(`await using gives back, as .${suffix} is compiled for a Node that does not have it`, () => {
    fs.copyFileSync(path.join(__dirname, 'using.ts'), path.join(place, `using.${suffix}`))
    assert.deepEqual(compile(`using.${suffix}`), [0, ''])
    const program = path.join(place, `using.${suffix.replace('ts', 'js')}`)
    assert.doesNotMatch(fs.readFileSync(program, 'utf8'), /await using \w/)
    const { status, stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8', timeout: 60_000 })
    assert.deepEqual([status, stdout, stderr], [0, 'held, free, lost, closed\n', ''])
  })
}
