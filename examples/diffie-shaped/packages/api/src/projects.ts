// What a project is: a name, and an address that is looked at.

export type Draft = { name: string; address: string };

/** A project as somebody has typed it, or what is wrong with it. */
export function draft(body: unknown): Draft | { error: string } {
  const { name, address } = (body ?? {}) as Record<string, unknown>;
  if (typeof name !== "string" || !name.trim()) return { error: "A project needs a name." };
  if (name.trim().length > 80) return { error: "A name has 80 characters at most." };
  if (typeof address !== "string" || !URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol))
    return { error: "The address begins with http:// or https://." };
  return { name: name.trim(), address };
}
