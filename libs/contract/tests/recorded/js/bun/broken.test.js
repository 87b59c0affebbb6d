import { describe, expect, test } from 'bun:test'
import { nothing } from './nowhere.js'
test('never runs', () => nothing())
