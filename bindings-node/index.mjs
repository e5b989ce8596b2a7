// The same classes for `import` as for `require`: errors are told apart by them.
import leasehold from './index.js'

export const { connect, Client, Lock, Lease, Locks, Leases, Once, Election, Term } = leasehold
export const { LeaseholdError, LockTimeout, LeaseLost, NotHeld, Unavailable, Refused } = leasehold
export const { InvalidInput, Unsupported, ClientClosed, Cancelled, InternalError } = leasehold
