import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { CancelledError } from "#laurel/errors";
import { onAbort, unlessAborted } from "#laurel/util/abort";

test("a signal has one listener for many who wait, and none when they have what they waited for", async () => {
  const { signal } = new AbortController();
  const ends: (() => void)[] = [];
  const waits = Array.from({ length: 50 }, () =>
    unlessAborted(new Promise<void>((resolve) => void ends.push(resolve)), signal),
  );
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
  for (const end of ends) end();
  await Promise.all(waits);
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});

test("all who wait are told, unless they ceased to", () => {
  const abort = new AbortController();
  const told: string[] = [];
  const forget = onAbort(abort.signal, () => told.push("first"));
  onAbort(abort.signal, () => told.push("second"));
  forget();
  forget();
  onAbort(abort.signal, () => told.push("third"));
  abort.abort();
  onAbort(abort.signal, () => told.push("late"))();
  expect(told).toEqual(["second", "third"]);
});

test("what is cancelled is named", async () => {
  const never = new Promise<void>(() => undefined);
  const abort = new AbortController();
  const waits = [unlessAborted(never, abort.signal, "job 1"), unlessAborted(never, abort.signal)];
  abort.abort();
  const told = await Promise.all(waits.map((wait) => wait.catch((error: unknown) => error)));
  expect(told).toEqual([new CancelledError("job 1 was cancelled"), new CancelledError("cancelled")]);
  await expect(unlessAborted(never, abort.signal, "job 2")).rejects.toThrow("job 2 was cancelled");
});
