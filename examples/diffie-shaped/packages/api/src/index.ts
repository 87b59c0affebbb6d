// What the app calls: signing in, and projects. A new project is handed to Restate, which has it checked.
import { sql, type BunRequest } from "bun";
import { Auth, COOKIE, cors, need } from "@shaped/common";
import { draft } from "./projects.ts";

const auth = new Auth(need("AUTH_INTERNAL_URL"), need("AUTH_SECRET"));
const headers = cors(new URL(need("APP_URL")).origin);
const domain = need("COOKIE_DOMAIN"); // realtime has a host name of its own and gets the cookie, too
const ingress = need("RESTATE_INGRESS_INTERNAL_URL");

const json = (body: unknown, status = 200) => Response.json(body, { status, headers });
const who = (request: BunRequest) => auth.who(request.cookies.get(COOKIE));
const preflight = () => new Response(null, { status: 204, headers });

async function signIn(request: BunRequest): Promise<Response> {
  const answer = await auth.ask("/sign-in", "POST", await request.json());
  const said = (await answer.json()) as { token: string; error?: string };
  if (!answer.ok) return json(said, answer.status);
  request.cookies.set(COOKIE, said.token, { domain, httpOnly: true, sameSite: "lax", path: "/" });
  return json({});
}

async function signOut(request: BunRequest): Promise<Response> {
  await auth.ask("/sign-out", "POST", { token: request.cookies.get(COOKIE) });
  request.cookies.delete({ name: COOKIE, domain, path: "/" });
  return json({});
}

async function projects(request: BunRequest): Promise<Response> {
  if (!(await who(request))) return json({ error: "Sign in first." }, 401);
  return json(await sql`select id, name, address, status, detail from projects order by id desc`);
}

async function create(request: BunRequest): Promise<Response> {
  const email = await who(request);
  if (!email) return json({ error: "Sign in first." }, 401);
  const wanted = draft(await request.json());
  if ("error" in wanted) return json(wanted, 422);
  const [made] = await sql`insert into projects ${sql({ ...wanted, created_by: email })} returning id`;
  await sql.notify("projects", String(made.id));
  const sent = await fetch(`${ingress}/checker/check/send`, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": `project-${made.id}` },
    body: JSON.stringify(Number(made.id)),
  });
  if (!sent.ok) throw new Error(`Restate refused the check: ${sent.status} ${await sent.text()}`);
  return json(made, 201);
}

const server = Bun.serve({
  port: need("API_PORT"),
  routes: {
    "/": () => json({ see: "/health, /me, /projects" }),
    "/health": async () => json(await sql`select 1 as ok`),
    "/me": { GET: async (request) => json({ email: await who(request) }) },
    "/session": { POST: signIn, DELETE: signOut, OPTIONS: preflight },
    "/projects": { GET: projects, POST: create, OPTIONS: preflight },
  },
  error(e) {
    console.error(e);
    return json({ error: "That went wrong; it is in the log." }, 500);
  },
});
console.log(`api: ${server.url}`);
