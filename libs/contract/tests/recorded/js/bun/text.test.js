import { describe, expect, test } from 'bun:test'
test('joins', () => {
  console.log('said by the app')
  expect('a' + 'b').toBe('ab')
})
test('throws', () => {
  throw new Error('boom')
})
