import { describe, expect, test } from 'bun:test'
describe('math', () => {
  test('adds', () => expect(1 + 1).toBe(2))
  describe('of big numbers', () => {
    test('multiplies', () => expect(10 * 10).toBe(100))
    test('divides', () => expect(10 / 10).toBe(2))
  })
  test.skip('is skipped', () => {})
  test.todo('is to be written')
})
