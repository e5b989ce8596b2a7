'use strict'
// What people and programs see of objects that hold a fence: JSON has no bigint.

/** As it is shown by console.log. */
const show = (name, fields, options, inspect) => `${name} ${inspect(fields, options)}`

const toJson = (fields) => ({ ...fields, fence: String(fields.fence) })

/** Give a plain object its form in JSON, where the fence is a text; nobody else sees that. */
function jsonable(object, fields = () => object) {
  return Object.defineProperty(object, 'toJSON', { value: () => toJson(fields()) })
}

module.exports = { show, toJson, jsonable }
