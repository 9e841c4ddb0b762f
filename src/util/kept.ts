/** @file Promises that are kept by a key, unless they fail. */

/** What {@link kept} keeps promises in: a Map, or a WeakMap. */
interface Keeper<K, V> {
  get(key: K): Promise<V> | undefined;
  set(key: K, value: Promise<V>): unknown;
  delete(key: K): unknown;
}

/** What is kept under `key`, else what `open` gives, which is kept from now on unless it fails. */
export function kept<K, V>(keeper: Keeper<K, V>, key: K, open: () => Promise<V>): Promise<V> {
  const known = keeper.get(key);
  if (known !== undefined) return known;
  const opening = open();
  keeper.set(key, opening);
  opening.catch(() => keeper.delete(key));
  return opening;
}
