const { nothing } = require('./nowhere.js')
test('never runs', () => nothing())
