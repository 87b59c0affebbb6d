// Serves the page, bundled by bun, and tells it where the others are.
import { need } from "@shaped/common";
import page from "./index.html";

const config = {
  name: need("SITE_NAME"),
  api: need("API_URL"),
  stream: need("STREAM_URL"),
  website: need("WEBSITE_URL"),
};
const server = Bun.serve({
  port: need("APP_PORT"),
  development: { hmr: false },
  routes: { "/": page, "/config.json": () => Response.json(config), "/health": () => new Response("ok") },
});
console.log(`app: ${server.url}`);
