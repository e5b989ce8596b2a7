// The tests that jest and vitest both run, in two files each, at the same time.

/** `host`: what the test file finds as globals or imports; `load`: the package, loaded anew. */
exports.testLocks = ({ kind, file, leasehold, load, host }) => {
  const { beforeAll, afterAll, test, expect, timers } = host
  let client
  beforeAll(async () => (client = await leasehold.connect(process.env.LEASEHOLD_URL)))
  afterAll(() => client.close())

  test('a lock is shared with the other file', async () => {
    const lease = await client.lock(kind, { wait: 20_000 }).acquire()
    expect(lease.isValid).toBe(true)
    expect(typeof lease.fence).toBe('bigint')
    await new Promise((resolve) => setTimeout(resolve, 50))
    await lease.release()
  }, 30_000)

  test('errors are of their classes, and a signal ends a wait', async () => {
    const name = `${kind}/${file}`
    expect(() => client.lock('')).toThrow(leasehold.InvalidInput)
    const held = await client.lock(name).acquire()
    const controller = new AbortController()
    const waiting = client.lock(name).acquire({ signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await held.release()
  })

  test('fake timers change nothing', async () => {
    timers.useFakeTimers()
    const lease = await client.lock(`fake/${file}`).acquire()
    for (let turn = 0; turn < 500; turn++) await (await client.lock(`many/${file}`).acquire()).release()
    lease.check()
    await lease.release()
    timers.useRealTimers()
  }, 30_000)

  test('nor do they when the package is loaded under them', async () => {
    timers.useFakeTimers()
    timers.resetModules()
    const own = await (await load()).connect('memory:')
    for (let turn = 0; turn < 2_000; turn++) await (await own.lock('x').acquire()).release()
    await own.close()
    timers.useRealTimers()
  }, 30_000)
}
