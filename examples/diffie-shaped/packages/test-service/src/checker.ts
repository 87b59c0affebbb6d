// Looks at the address of a project, as a Restate service: each step is done once, whatever dies in between.
import * as restate from "@restatedev/restate-sdk";
import { sql } from "bun";

export type Verdict = { status: "passed" | "failed"; detail: string };

export async function look(address: string, get: (url: string) => Promise<Response> = fetch): Promise<Verdict> {
  try {
    const answer = await get(address);
    return { status: answer.ok ? "passed" : "failed", detail: `answered ${answer.status}` };
  } catch {
    return { status: "failed", detail: "did not answer" };
  }
}

export const checker = restate.service({
  name: "checker",
  handlers: {
    check: async (ctx: restate.Context, id: number) => {
      const verdict = await ctx.run("look", async () => {
        const [project] = await sql`select address from projects where id = ${id}`;
        return look(project.address);
      });
      await ctx.run("write", async () => {
        await sql`update projects set ${sql(verdict)} where id = ${id}`;
        await sql.notify("projects", String(id));
      });
      return verdict;
    },
  },
});
