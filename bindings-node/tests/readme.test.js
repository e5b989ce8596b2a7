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

/** What the example behind that heading says, and whether nothing is held then. */
async function said(heading, isFree = true) {
  const text = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8')
  const [, program] = new RegExp(`\\*\\*${heading}.*\\n\\n\`\`\`js\\n([\\s\\S]*?)\`\`\``).exec(text)
  const lines = []
  const client = await require('./rig.js').leasehold.connect('memory:')
  await new (async () => {}).constructor('client', 'console', program)(client, { log: (...words) => lines.push(words) })
  if (isFree) assert.deepEqual(await client.list(), [])
  await client.close()
  assert.ok(program.trimEnd().split('\n').length <= 8)
  return lines
}

test('so does the one with several locks', async () => {
  assert.equal((await said('Several locks'))[0].length, 3)
})

test('so does the one with a ticket', async () => {
  assert.deepEqual(await said('Take it in the web'), [['sent', 'invoices/42']])
})

test('so does the one with shared locks and permits', async () => {
  const [[, fence], [, slot, [holder]]] = await said('Shared, or')
  assert.deepEqual([typeof fence, slot, holder.slot, holder.mode], ['bigint', 0, 0, 'counted'])
})

test('so does the one that is run once per interval', async () => {
  const [done, [why, nextIn]] = await said('Once per', false)
  assert.deepEqual([done, why], [['done', 42], 'rested'])
  assert.ok(nextIn > 82_000_000)
})

test('so does the one with elections', async () => {
  const [[number], [value]] = await said('Elections')
  assert.deepEqual([typeof number, value], ['bigint', '10.0.0.7:8080'])
})

test('a stream of leaders is made as it says', async () => {
  const text = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8')
  const [, made] = /`(Readable\.from\(.*)`\./.exec(text)
  const client = await require('./rig.js').leasehold.connect('memory:')
  const { Readable } = require('node:stream')
  const stream = new Function('Readable', 'election', `return ${made}`)(Readable, client.election('x'))
  for await (const { leader } of stream) {
    assert.equal(leader, null)
    break
  }
  await client.close()
})
