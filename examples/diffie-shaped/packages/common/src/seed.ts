// One person who can sign in. May be run again and again.
import { sql } from "bun";

const hash = await Bun.password.hash("shaped-ada", { algorithm: "bcrypt", cost: 4 }); // cheap: the password is no secret
await sql`insert into users (email, password_hash) values ('ada@example.com', ${hash}) on conflict do nothing`;
await sql.close();
