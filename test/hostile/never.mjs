/** Called in the device process by the tests: never answers. */
export default () => new Promise(() => undefined);
