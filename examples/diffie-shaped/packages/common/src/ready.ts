// Exits with 0 when Postgres answers a query: what pg_isready is where there is one.
import { SQL } from "bun";

const sql = new SQL(process.env.DATABASE_URL!, { connectionTimeout: 2 });
await sql`select 1`.catch((e: Error) => {
  console.error(e.message);
  process.exit(1);
});
process.exit(0);
