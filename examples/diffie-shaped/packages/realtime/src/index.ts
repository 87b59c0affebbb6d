// Tells open pages that projects have changed, as server-sent events. Like a worker it knows .dev.vars and nothing else.
import { SQL } from "bun";
import { parseEnv } from "node:util";
import { Auth, COOKIE, cors, need } from "@shaped/common";

const vars = parseEnv(await Bun.file(new URL("../.dev.vars", import.meta.url)).text());
const auth = new Auth(need("AUTH_URL", vars), need("AUTH_SECRET", vars));
const headers = cors(new URL(need("APP_URL", vars)).origin);
const pages = new Set<ReadableStreamDefaultController<string>>();

const send = (text: string) => pages.forEach((page) => page.enqueue(text));
await new SQL(need("DATABASE_URL", vars)).listen("projects", (id) => send(`data: ${id}\n\n`));
setInterval(() => send(": still here\n\n"), 15_000);

const server = Bun.serve({
  port: need("REALTIME_PORT"),
  idleTimeout: 0,
  routes: {
    "/": () => new Response("see /changes"),
    "/health": () => new Response("ok"),
    "/changes": async (request) => {
      if (!(await auth.who(request.cookies.get(COOKIE)))) return new Response("Sign in first.", { status: 401, headers });
      let page: ReadableStreamDefaultController<string>;
      const body = new ReadableStream<string>({
        start(controller) {
          page = controller;
          pages.add(page);
          page.enqueue(": hello\n\n");
        },
        cancel: () => void pages.delete(page),
      });
      return new Response(body, { headers: { ...headers, "content-type": "text/event-stream" } });
    },
  },
});
console.log(`realtime: ${server.url}`);
