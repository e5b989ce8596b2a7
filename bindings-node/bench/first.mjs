// The first acquisition of a process: node first.mjs [URL LIBRARY]

import { LIBRARIES, require } from './contenders.mjs'

const [url, name] = process.argv.slice(2)
let loading = 0
if (url) {
  const { packages, open } = LIBRARIES[name]
  const began = performance.now()
  for (const one of packages) require(one)
  loading = performance.now() - began
  await (await open(url)).lock(`first/${process.pid}`)()
}
console.log(JSON.stringify({ loading, taken: Number(process.hrtime.bigint()) / 1e6 }))
process.exit()
