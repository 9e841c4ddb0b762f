/** Called in the device process by the tests: scales a bound tensor in place and reports what it saw. */
export default ({ tensors }, { name, factor, add, remove, fail, crash, uncloneable }) => {
  if (fail) throw new Error(fail);
  if (crash)
    setTimeout(() => {
      throw new TypeError(crash);
    });
  if (crash) return new Promise(() => undefined);
  if (uncloneable) return () => undefined;
  const tensor = tensors.get(name);
  if (tensor !== undefined) for (let i = 0; i < tensor.data.length; i++) tensor.data[i] *= factor;
  if (add !== undefined) tensors.set(add, { dtype: "float32", shape: [2], data: Float32Array.of(7, 8) });
  if (remove !== undefined) tensors.delete(remove);
  return { pid: process.pid, names: [...tensors.keys()] };
};
