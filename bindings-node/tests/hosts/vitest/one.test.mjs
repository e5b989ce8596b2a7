import * as leasehold from 'leasehold'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'

let client
beforeAll(async () => (client = await leasehold.connect(process.env.LEASEHOLD_URL)))
afterAll(() => client.close())

test('a lock is shared with the other file', async () => {
  const lease = await client.lock('vitest', { wait: 20_000 }).acquire()
  expect(lease.isValid).toBe(true)
  expect(typeof lease.fence).toBe('bigint')
  await new Promise((resolve) => setTimeout(resolve, 50))
  await lease.release()
}, 30_000)

test('errors are of their classes, and a signal ends a wait', async () => {
  const name = `vitest/${import.meta.url}`
  expect(() => client.lock('')).toThrow(leasehold.InvalidInput)
  const held = await client.lock(name).acquire()
  const controller = new AbortController()
  const waiting = client.lock(name).acquire({ signal: controller.signal })
  controller.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await held.release()
})

test('fake timers change nothing', async () => {
  vi.useFakeTimers()
  const lease = await client.lock(`fake/${import.meta.url}`).acquire()
  for (let turn = 0; turn < 500; turn++) await (await client.lock(`many/${import.meta.url}`).acquire()).release()
  lease.check()
  await lease.release()
  vi.useRealTimers()
}, 30_000)

test('nor do they when the package is loaded under them', async () => {
  vi.useFakeTimers()
  vi.resetModules()
  const own = await (await import('leasehold')).connect('memory:')
  for (let turn = 0; turn < 2_000; turn++) await (await own.lock('x').acquire()).release()
  await own.close()
  vi.useRealTimers()
}, 30_000)
