/** @file Objects that stand for another, with some of its methods replaced: to measure or watch it from outside. */

/**
 * `target` with the members of `own` instead of its own. All others, those of classes with private fields included, work on `target` itself; what it lacks
 * stays lacking.
 */
export function intercept<T extends object>(target: T, own: Partial<T>): T {
  return new Proxy(target, {
    get(_, key) {
      if (Object.hasOwn(own, key)) return Reflect.get(own, key);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
