// Writes .env.worktree, which tells one checkout from another, unless it is there. What is in it may be changed by hand.
import { basename } from "node:path";

const file = Bun.file(".env.worktree");
if (!(await file.exists())) {
  const secret = Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString("base64url");
  await file.write(`SITE_NAME="Diffie-shaped: ${basename(process.cwd())}"\nAUTH_SECRET=${secret}\n`);
}
