import { expect, test } from "bun:test";
import { look } from "./checker.ts";

test("an address that answers has passed", async () => {
  expect(await look("http://x", async () => new Response("hello"))).toEqual({ status: "passed", detail: "answered 200" });
});

test("an error is told with its number", async () => {
  expect(await look("http://x", async () => new Response("", { status: 503 }))).toEqual({ status: "failed", detail: "answered 503" });
});

test("nobody there is no exception", async () => {
  expect(await look("http://x", () => Promise.reject(new Error("refused")))).toEqual({ status: "failed", detail: "did not answer" });
});
