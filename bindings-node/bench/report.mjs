// Turns of the contenders, and tables of what came of them.

const ROUNDS = 7

/**
 * Let every contender have a slice in every round, each round another one first, because
 * the machine is not the same from one second to the next. Answers the slices of each, by
 * name; a round before the first warms up.
 */
export async function rounds(contenders, slice) {
  const all = Object.entries(contenders)
  const slices = Object.fromEntries(all.map(([name]) => [name, []]))
  for (let round = 0; round <= ROUNDS; round++) {
    for (let turn = 0; turn < all.length; turn++) {
      const [name, contender] = all[(round + turn) % all.length]
      // So that nobody pays for what another one left behind.
      globalThis.gc()
      const measured = await slice(contender, name)
      if (round > 0) slices[name].push(measured)
    }
  }
  return slices
}

/** What a part of the values is not above: 0.5 for the median. */
export function quantile(values, part) {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.round((sorted.length - 1) * part)] ?? NaN
}

export const median = (values) => quantile(values, 0.5)
export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length

/** The median of the rounds' ratios to the first contender. */
export function ratio(slices, name, of) {
  const [ours, theirs] = [Object.values(slices)[0], slices[name]]
  return median(theirs.map((slice, round) => of(slice) / of(ours[round]))).toFixed(2)
}

/**
 * `unit`: how many of it a millisecond, in which times are measured, has. `more`: columns,
 * as functions of the contender's name.
 */
export function times(title, slices, { unit = 1000, more = {} } = {}) {
  const name = { 1: 'ms', 1000: 'µs' }[unit]
  const show = (value) => (value * unit).toFixed(unit === 1 ? 1 : 0)
  const rows = Object.entries(slices).map(([who, of]) => {
    const all = of.flat()
    const numbers = [median(all), quantile(all, 0.99), mean(all)].map(show)
    return [who, ...numbers, ratio(slices, who, median), ...Object.values(more).map((cell) => cell(who))]
  })
  const columns = [`p50, ${name}`, `p99, ${name}`, `mean, ${name}`, 'p50 to ours']
  table(title, ['', ...columns, ...Object.keys(more)], rows)
}

export function table(title, columns, rows) {
  const widths = columns.map((_, i) => Math.max(...[columns, ...rows].map((row) => `${row[i]}`.length)))
  // Names to the left, numbers to the right.
  const pad = (cell, i) => (i === 0 ? `${cell}`.padEnd(widths[i]) : `${cell}`.padStart(widths[i]))
  const line = (cells) => `| ${cells.map(pad).join(' | ')} |`
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  console.log(['', `### ${title}`, '', line(columns), line(rule), ...rows.map(line)].join('\n'))
}
