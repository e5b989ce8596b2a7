const { testLocks } = require('../locks.cjs')

testLocks({
  kind: 'jest',
  file: __filename,
  leasehold: require('leasehold'),
  load: async () => require('leasehold'),
  host: { beforeAll, afterAll, test, expect, timers: jest },
})
