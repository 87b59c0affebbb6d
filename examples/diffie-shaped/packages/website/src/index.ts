// The public page. Host and port come by flags, as most web frameworks want them.
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { hostname: { type: "string" }, port: { type: "string" } } });
const page = `<!doctype html><html lang="en"><meta charset="utf-8"><title>${process.env.SITE_NAME}</title>
<link rel="icon" href="data:,"><body style="font: 18px/1.6 system-ui; max-width: 40rem; margin: 4rem auto">
<h1>${process.env.SITE_NAME}</h1><p>Is your site up? We look.</p><p><a href="${process.env.APP_URL}">Open the app</a></p>`;
const server = Bun.serve({
  ...values,
  fetch: () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
});
console.log(`website: ${server.url}`);
