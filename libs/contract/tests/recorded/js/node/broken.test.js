const { nothing } = require('./nowhere.js')
require('node:test').test('never runs', () => nothing())
