// Who may come in: people and their sessions. Only services that know AUTH_SECRET are answered.
import { sql } from "bun";
import { need } from "@shaped/common";

const secret = `Bearer ${need("AUTH_SECRET")}`;

type Handler = (body: Record<string, string>) => Promise<Response>;

const served = (handler: Handler) => ({
  POST: async (request: Request) => {
    if (request.headers.get("authorization") !== secret) return new Response("who are you?", { status: 403 });
    return handler((await request.json()) as Record<string, string>);
  },
});

const server = Bun.serve({
  port: need("AUTH_PORT"),
  routes: {
    "/health": async () => Response.json(await sql`select 1 as ok`),
    "/sign-in": served(async ({ email, password }) => {
      const [user] = await sql`select password_hash from users where email = ${email}`;
      if (!user || !(await Bun.password.verify(password ?? "", user.password_hash)))
        return Response.json({ error: "Email or password is wrong." }, { status: 422 });
      const token = crypto.randomUUID();
      await sql`insert into sessions (token, email) values (${token}, ${email})`;
      return Response.json({ token });
    }),
    "/sign-out": served(async ({ token }) => {
      await sql`delete from sessions where token = ${token}`;
      return Response.json({});
    }),
    "/whose": served(async ({ token }) => {
      const [session] = await sql`select email from sessions where token = ${token} and expires_at > now()`;
      return session ? Response.json(session) : Response.json({}, { status: 404 });
    }),
  },
});
console.log(`auth: ${server.url}`);
