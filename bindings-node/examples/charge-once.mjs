// A Fastify endpoint that charges an order once, however often it is asked, and by how many servers.
//
//     LEASEHOLD_URL=redis://127.0.0.1 LEDGER=/tmp/ledger.txt PORT=3000 node charge-once.mjs

import { appendFile, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import { connect, LeaseLost, LockTimeout, Unavailable } from 'leasehold'

const { LEASEHOLD_URL, LEDGER, PORT = '3000' } = process.env
const client = await connect(LEASEHOLD_URL, { label: 'charges' })

async function isPaid(order) {
  const ledger = await readFile(LEDGER, { encoding: 'utf8', flag: 'a+' })
  return ledger.split('\n').some((line) => line.startsWith(`${order} `))
}

async function chargeTheCard(order, fence, signal) {
  await sleep(50, undefined, { signal }) // the payment provider
  await appendFile(LEDGER, `${order} ${fence}\n`)
}

const app = Fastify()

app.post('/orders/:order/charge', async (request, reply) => {
  const { order } = request.params
  try {
    return await client.lock(`orders/${order}`, { wait: 5_000 }).run(async ({ fence, signal }) => {
      if (await isPaid(order)) return { charged: false }
      await chargeTheCard(order, fence, signal)
      return { charged: true }
    })
  } catch (error) {
    if (error instanceof LockTimeout) return reply.code(409).send({ error: 'another request charges this order' })
    if (error instanceof LeaseLost || error instanceof Unavailable) return reply.code(503).send({ error: 'try again' })
    throw error
  }
})

app.addHook('onClose', () => client.close())
process.once('SIGTERM', () => app.close())
console.log(await app.listen({ port: Number(PORT) }))
