const assert = require('node:assert')
const { describe, it, test } = require('node:test')
describe('math', () => {
  it('adds', () => assert.equal(1 + 1, 2))
  describe('of big numbers', () => {
    it('multiplies', () => assert.equal(10 * 10, 100))
    it('divides', () => assert.equal(10 / 10, 2))
  })
  it.skip('is skipped', () => {})
  it.todo('is to be written')
})
