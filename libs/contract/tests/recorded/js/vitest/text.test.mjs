import { describe, expect, test } from 'vitest'
test('joins', () => {
  console.log('said by the app')
  expect('a' + 'b').toBe('ab')
})
test('throws', () => {
  throw new Error('boom')
})
