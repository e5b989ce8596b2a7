import * as leasehold from 'leasehold'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { testLocks } from '../locks.cjs'

testLocks({
  kind: 'vitest',
  file: import.meta.url,
  leasehold,
  load: () => import('leasehold'),
  host: { beforeAll, afterAll, test, expect, timers: vi },
})
