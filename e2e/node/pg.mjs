// node-postgres through doorward.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import pg from 'pg'

const config = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: 'agent',
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
  ssl: { ca: readFileSync(process.env.PGSSLROOTCERT, 'utf8') },
}
const pool = new pg.Pool({ ...config, max: 4 })

const one = await pool.query('SELECT id, name, email FROM customers WHERE id = $1', [7])
assert.equal(one.rows[0].name, 'Customer 7')
assert.ok(!one.rows[0].email.includes('person7'), one.rows[0].email)

// A named statement, on several connections at once.
const many = await Promise.all(
  Array.from({ length: 40 }, (_, i) =>
    pool.query({ name: 'by-id', text: 'SELECT total FROM orders WHERE id = $1', values: [i + 1] }),
  ),
)
assert.equal(many.length, 40)
assert.equal(many[4].rows[0].total, '5.00')

const client = await pool.connect()
await client.query('BEGIN')
await client.query('INSERT INTO marks VALUES ($1)', ['node-pg'])
await client.query('COMMIT')
await assert.rejects(client.query('DROP TABLE orders'), (e) => e.code === '42501' && /migration/.test(e.hint))
// The session goes on after a refusal.
assert.equal((await client.query('SELECT count(*)::int AS n FROM orders')).rows[0].n, 200)
client.release()
await pool.end()
console.log('node-postgres works')
