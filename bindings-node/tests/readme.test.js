'use strict'
// The programs of the READMEs do what they say.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { INSTALLED, Redis } = require('./rig.js')

for (const file of ['../README.md', '../../README.md']) {
  test(`the first program of ${file} runs`, async () => {
    const redis = await Redis.start()
    const text = fs.readFileSync(path.join(__dirname, file), 'utf8')
    const [, program] = /```js\n([\s\S]*?)```/.exec(text)
    const name = path.join(INSTALLED, `readme-${process.pid}.mjs`)
    fs.writeFileSync(name, program.replace('redis://127.0.0.1', redis.url))
    const { status, stdout, stderr } = spawnSync(process.execPath, [name], { encoding: 'utf8', timeout: 30_000 })
    fs.rmSync(name)
    redis.stop()
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /fence \d+/)
  })
}

test('so does the one with several locks', async () => {
  const text = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8')
  const [, program] = /\*\*Several locks.*\n\n```js\n([\s\S]*?)```/.exec(text)
  const said = []
  const client = await require('./rig.js').leasehold.connect('memory:')
  await new (async () => {}).constructor('client', 'console', program)(client, { log: (...words) => said.push(words) })
  assert.deepEqual([said[0].length, await client.list()], [3, []])
  await client.close()
})
