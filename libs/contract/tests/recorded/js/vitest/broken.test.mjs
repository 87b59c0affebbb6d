import { describe, expect, test } from 'vitest'
import { nothing } from './nowhere.mjs'
test('never runs', () => nothing())
