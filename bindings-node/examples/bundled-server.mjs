// A server that is built into one file, as Next.js and others do. The package stays outside of it, for it has a
// native part: `--external:leasehold`, in Next.js `serverExternalPackages: ['leasehold']`.
//
//     npx esbuild bundled-server.mjs --bundle --platform=node --format=esm --external:leasehold --outfile=server.mjs
//     LEASEHOLD_URL=redis://127.0.0.1 PORT=3000 node server.mjs

import { createServer } from 'node:http'
import { connect } from 'leasehold'

// As a module of CommonJS has no top-level await, requests wait for the client.
const connected = connect(process.env.LEASEHOLD_URL)

const server = createServer(async (request, response) => {
  try {
    const client = await connected
    const fence = await client.lock(request.url).run(({ fence }) => fence)
    response.end(`fence ${fence}\n`)
  } catch (error) {
    response.writeHead(503).end(`${error.message}\n`)
  }
})

server.listen(process.env.PORT ?? 3000, () => console.log(`http://127.0.0.1:${server.address().port}`))
