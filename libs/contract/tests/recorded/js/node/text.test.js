const assert = require('node:assert')
const { test } = require('node:test')
test('joins', () => {
  console.log('said by the app')
  assert.equal('a' + 'b', 'ab')
})
test('throws', () => {
  throw new Error('boom')
})
