import { expect, test } from "vitest";
import { patiently, Presence } from "#laurel/queue/presence";

const { signal } = new AbortController();
const failing = (code: string, times: number) => {
  let calls = 0;
  return async (): Promise<number> =>
    ++calls <= times ? Promise.reject(Object.assign(new Error("of the server"), { code })) : Promise.resolve(calls);
};

test("what crosses another's work in PostgreSQL is done again, and the server is not taken for lost", async () => {
  const presence = new Presence("postgres://host/database");
  const notices: string[] = [];
  presence.listen((message) => notices.push(message));
  expect(await patiently(presence, signal, failing("40P01", 2))).toBe(3);
  expect(await patiently(presence, signal, failing("40001", 1))).toBe(2);
  expect(notices).toEqual([]);
});

test("a server that is away is waited for and told of, any other error is thrown", async () => {
  const presence = new Presence("postgres://host/database");
  const notices: string[] = [];
  presence.listen((message) => notices.push(message));
  expect(await patiently(presence, signal, failing("ECONNREFUSED", 1))).toBe(2);
  expect(notices).toEqual([
    "postgres://host/database: lost (of the server); waiting until it is back",
    "postgres://host/database: found again after 0 s",
  ]);
  await expect(patiently(presence, signal, failing("42501", 1))).rejects.toThrow("of the server");
});
