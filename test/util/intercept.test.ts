import { expect, test } from "vitest";
import { intercept } from "#laurel/util/intercept";

class Counter {
  #count = 0;
  readonly unit: string = "one";
  /** Present in some. */
  declare readonly extra?: string;

  add(by: number): number {
    this.#count += by;
    return this.#count;
  }

  get count(): number {
    return this.#count;
  }

  twice(): number {
    this.add(1);
    return this.add(1);
  }
}

test("what is replaced is called, the rest works on the target itself", () => {
  const target = new Counter();
  const asked: number[] = [];
  const watched = intercept(target, {
    add: (by) => {
      asked.push(by);
      return target.add(by * 10);
    },
  });
  expect(watched.add(2)).toBe(20);
  // a method of the target calls the target's own
  expect(watched.twice()).toBe(22);
  expect([watched.count, target.count, watched.unit]).toEqual([22, 22, "one"]);
  expect(asked).toEqual([2]);
  const { count } = watched;
  expect(count).toBe(22);
  expect(watched).toBeInstanceOf(Counter);
});

test("what is replaced by nothing is gone, and what was not there stays away", () => {
  const watched = intercept<{ add?: unknown; extra?: unknown; twice?: unknown }>(new Counter(), { twice: undefined });
  expect(watched.twice).toBeUndefined();
  expect("extra" in watched).toBe(false);
  expect("add" in watched).toBe(true);
});
