const assert = require('node:assert')
it('joins', () => {
  console.log('said by the app')
  assert.equal('a' + 'b', 'ab')
})
it('throws', () => {
  throw new Error('boom')
})
describe('a hook', () => {
  before(() => {
    throw new Error('no database')
  })
  it('never runs', () => {})
})
