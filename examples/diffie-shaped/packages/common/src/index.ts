// What all services share: their environment, and who somebody is.

/** A variable without which a service cannot do its work. */
export function need(name: string, from: Record<string, string | undefined> = process.env): string {
  const value = from[name];
  if (value) return value;
  console.error(`${name} is not set. \`factory setup\` and \`factory start\` do that.`);
  process.exit(1);
}

export const COOKIE = "session";

/** The auth service, for those who know its secret. */
export class Auth {
  constructor(private url: string, private secret: string) {}

  ask(path: string, method: string, body: unknown): Promise<Response> {
    const headers = { "content-type": "application/json", authorization: `Bearer ${this.secret}` };
    return fetch(`${this.url}${path}`, { method, headers, body: JSON.stringify(body) });
  }

  /** The email address of the person whose cookie it is; null for everybody else. */
  async who(token: string | null): Promise<string | null> {
    if (!token) return null;
    const answer = await this.ask("/whose", "POST", { token });
    return answer.ok ? ((await answer.json()) as { email: string }).email : null;
  }
}

/** Lets pages of one other origin call, with their cookies. */
export function cors(origin: string): Record<string, string> {
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-credentials": "true",
    "access-control-allow-headers": "content-type",
    "access-control-allow-methods": "GET, POST, DELETE",
    vary: "origin",
  };
}
