import { expect, test } from "bun:test";
import { draft } from "./projects.ts";

test("a name loses the blanks around it", () => {
  expect(draft({ name: " Shop ", address: "http://localhost:1/" })).toEqual({ name: "Shop", address: "http://localhost:1/" });
});

test.each([
  [null, "name"],
  [{ name: "  ", address: "http://localhost" }, "name"],
  [{ name: "x".repeat(81), address: "http://localhost" }, "80"],
  [{ name: "Shop", address: "localhost" }, "address"],
  [{ name: "Shop", address: "file:///etc/passwd" }, "address"],
])("%j is refused", (body, why) => {
  expect(draft(body)).toEqual({ error: expect.stringContaining(why) });
});
