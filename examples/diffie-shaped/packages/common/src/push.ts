// Brings the database to schema.sql. May be run again and again.
import { sql } from "bun";

await sql.unsafe(await Bun.file(new URL("../schema.sql", import.meta.url)).text());
const tables = await sql`select table_name from information_schema.tables where table_schema = 'public' order by 1`.values();
console.log(`the schema is pushed: ${tables.flat().join(", ")}`);
await sql.close();
