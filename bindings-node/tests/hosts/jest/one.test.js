const leasehold = require('leasehold')

let client
beforeAll(async () => (client = await leasehold.connect(process.env.LEASEHOLD_URL)))
afterAll(() => client.close())

test('a lock is shared with the other file', async () => {
  const lease = await client.lock('jest', { wait: 20_000 }).acquire()
  expect(lease.isValid).toBe(true)
  expect(typeof lease.fence).toBe('bigint')
  await new Promise((resolve) => setTimeout(resolve, 50))
  await lease.release()
}, 30_000)

test('errors are of their classes, and a signal ends a wait', async () => {
  const name = `jest/${__filename}`
  expect(() => client.lock('')).toThrow(leasehold.InvalidInput)
  const held = await client.lock(name).acquire()
  const controller = new AbortController()
  const waiting = client.lock(name).acquire({ signal: controller.signal })
  controller.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await held.release()
})

test('fake timers change nothing', async () => {
  jest.useFakeTimers()
  const lease = await client.lock(`fake/${__filename}`).acquire()
  for (let turn = 0; turn < 500; turn++) await (await client.lock(`many/${__filename}`).acquire()).release()
  lease.check()
  await lease.release()
  jest.useRealTimers()
}, 30_000)

test('nor do they when the package is loaded under them', async () => {
  jest.useFakeTimers()
  jest.resetModules()
  const own = await require('leasehold').connect('memory:')
  for (let turn = 0; turn < 2_000; turn++) await (await own.lock('x').acquire()).release()
  await own.close()
  jest.useRealTimers()
}, 30_000)
